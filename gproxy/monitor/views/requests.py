"""The view of the requests in flight: where each waits, its stack, and its end."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from gproxy.monitor.views import cells
from gproxy.monitor.views.model import Cell, State, Table, View, action, unique
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
    notes: list[tuple[State, str]] = [
        ("bad", f"worker {one.worker.number} (pid {one.worker.pid}) {one.error}") for one in answers if one.error
    ]
    rows = unique((one["id"], _cells(one)) for one in found)
    caption = "Requests in flight, oldest first"
    return View(notes=notes, tables=[Table("requests", caption, _COLUMNS, rows, "None.", ("gproxy ps --stack",))])


def _cells(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    left = one["remaining"]
    tries = f" (try {one['tries']})" if one["tries"] > 1 else ""
    return (
        cells.duration(one["age"]),
        {**_request(one), "more": f"/v1/requests/{quote(one['id'], '')}"},
        cells.text(one["phase"]),
        cells.code(f"{one['handler'] or ''} {one['line'] or ''}".strip() or cells.NONE),
        cells.text(one["route"]),
        cells.text(f"{one['backend']}{tries}" if one["backend"] else None),
        cells.text(one["client"]),
        cells.text(left) if isinstance(left, str) else cells.duration(left),
        cells.doing([_cut(one)]),
    )


def _request(one: Mapping[str, Any]) -> dict[str, Any]:
    return {"t": str(cells.text(f"{one['method']} {one['path']}")), "code": True}


def _cut(one: Mapping[str, Any]) -> dict[str, Any]:
    path = f"/v1/requests/{quote(one['id'], '')}"
    ask = f"Cut {one['method']} {one['path'][:100]}? Its client gets 503, or a response that is broken off."
    command = f"curl -X DELETE -H 'Content-Type: application/json' http://localhost{path}"
    return action("Cut", "DELETE", path, ask=ask, command=command)
