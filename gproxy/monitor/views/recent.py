"""The view of the requests that failed or were slow, with the parts of their time."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from gproxy.monitor.views import cells
from gproxy.monitor.views.model import Cell, State, Table, View, unique
from gproxy.monitor.watched_gateway import WatchedGateway
from gproxy.observe import readable

#: The most requests that are shown.
_MOST: Final = 200
_COLUMNS: Final = (
    ("Time", "text"), ("Request", "wide"), ("Status", "text"), ("Duration", "wide"), ("Route", "text"),
    ("Backend", "text"), ("Client", "text"),
)  # fmt: skip


def view(gateway: WatchedGateway) -> View:
    """Return the failed and slow requests, newest first."""
    rows = unique((f"{one['id']} {one['time']}", _cells(one)) for one in gateway.recent.find((), most=_MOST))
    caption = f"Failed requests, and those slower than {readable.duration(gateway.settings.admin.slow)}"
    return View(tables=[Table("recent", caption, _COLUMNS, rows, "None yet.", ("/v1/recent?slowest=yes",))])


def _cells(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    tries = f" (try {one['tries']})" if one["tries"] > 1 else ""
    return (
        cells.clock(datetime.fromisoformat(one["time"]).timestamp()),
        {**request_cell(one), "more": f"/v1/requests/{quote(one['id'], '')}"},
        _status(one),
        _duration(one),
        cells.text(one["route"]),
        cells.text(f"{one['backend']}{tries}" if one["backend"] else None),
        cells.text(one["client"]),
    )


def request_cell(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return method and path of a request."""
    return {"t": str(cells.text(f"{one['method']} {one['path']}")), "code": True}


def _status(one: Mapping[str, Any]) -> Cell:
    kind: State = "bad" if one["status"] >= 500 else "warn"
    why = one["reason"] or ("slow" if one["kind"] == "slow" else "")
    return {"t": f"{one['status']} {why}".strip(), "s": one["status"], "state": kind}


def _duration(one: Mapping[str, Any]) -> Cell:
    """Return the duration: with the parts of its time account, if the request has one."""
    account = one.get("account")
    return cells.bar(list(account.items()), one["duration"]) if account else cells.duration(one["duration"])
