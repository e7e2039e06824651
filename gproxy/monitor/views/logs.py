"""The view of the logs: the end of the error log, of all processes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from gproxy.monitor.views import cells
from gproxy.monitor.views.model import Cell, State, Table, View, unique
from gproxy.monitor.watched_gateway import WatchedGateway

#: The most records that are shown.
_MOST: Final = 200
_COLUMNS: Final = (("Time", "text"), ("Level", "text"), ("From", "text"), ("Message", "wide"))
_STATES: Final[Mapping[str, State]] = {"warning": "warn", "error": "bad", "critical": "bad"}


def view(gateway: WatchedGateway) -> View:
    """Return the last records of the error log, newest first."""
    found = reversed(gateway.logs.errors.last(_MOST))
    rows = unique((f"{one['time']} {one.get('pid')}", _cells(one)) for one in found)
    commands = ("/v1/logs?source=error", "/v1/logs?source=access", "gproxy logs --follow")
    return View(tables=[Table("errors", "Error log, newest first", _COLUMNS, rows, "No record yet.", commands)])


def _cells(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    level = str(one.get("level", "info"))
    return (
        cells.clock(datetime.fromisoformat(one["time"]).timestamp()),
        cells.state(level, kind=_STATES.get(level, "none")),
        f"worker {one['worker']}" if one.get("worker") else "arbiter",
        cells.code(one.get("message")),
    )
