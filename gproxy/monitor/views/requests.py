"""The view of the requests in flight: where each waits, its stack, and its end."""

from collections.abc import Mapping
from shlex import quote as shell_word
from typing import Any, Final
from urllib.parse import quote

from gproxy.monitor.views import cells
from gproxy.monitor.views.model import Cell, Table, View, action, unique
from gproxy.monitor.views.processes import silent
from gproxy.monitor.views.recent import request_cell
from gproxy.monitor.watched_gateway import WatchedGateway

#: The most requests of each worker.
_MOST: Final = "500"
_COLUMNS: Final = (
    ("Age", "number"), ("Request", "wide"), ("Phase", "text"), ("Where", "text"), ("Route", "text"),
    ("Backend", "text"), ("Client", "text"), ("Left", "number"), ("Do", "text"),
)  # fmt: skip


def view(gateway: WatchedGateway) -> View:
    """Return the requests in flight, oldest first, and the workers that do not answer."""
    answers = gateway.lines.ask("requests", {"limit": _MOST})
    found = [one for answer in answers for part in answer.parts for one in part["requests"]]
    found.sort(key=lambda one: -float(one["age"]))
    rows = unique((one["id"], _cells(one)) for one in found)
    commands = ("gproxy ps --stack", "/v1/requests")
    table = Table("requests", "Requests in flight, oldest first", _COLUMNS, rows, "None.", commands)
    return View(notes=list(silent(answers)), tables=[table])


def _cells(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    left = one["remaining"]
    tries = f" (try {one['tries']})" if one["tries"] > 1 else ""
    return (
        cells.duration(one["age"]),
        {**request_cell(one), "more": f"/v1/requests/{quote(one['id'], '')}"},
        cells.text(one["phase"]),
        cells.code(f"{one['handler'] or ''} {one['line'] or ''}".strip() or cells.NONE),
        cells.text(one["route"]),
        cells.text(f"{one['backend']}{tries}" if one["backend"] else None),
        cells.text(one["client"]),
        cells.text(left) if isinstance(left, str) else cells.duration(left),
        cells.doing([_cut(one)]),
    )


def _cut(one: Mapping[str, Any]) -> dict[str, Any]:
    path = f"/v1/requests/{quote(one['id'], '')}"
    ask = f"Cut {one['method']} {one['path'][:100]}? Its client gets 503, or a response that is broken off."
    return action("Cut", "DELETE", path, ask=ask, command=f"gproxy admin cut {shell_word(one['id'])}")
