"""The view of the inspector of `gproxy dev`: the last requests; the script shows one of them beside the list."""

from collections.abc import Mapping
from typing import Any, Final

from gproxy.monitor.gathered.inspected import MOST, Entry, InspectedRequests, summary
from gproxy.monitor.views import cells
from gproxy.monitor.views.model import Cell, State, Table, View, action
from gproxy.monitor.watched_gateway import WatchedGateway

#: The module that shows one request beside the list.
_MODULE: Final = "/inspector.js"
_COLUMNS: Final = (
    ("Request", "wide"), ("Status", "text"), ("Duration", "number"), ("Time", "text"), ("Route", "text"),
    ("Backend", "text"), ("Changed by", "text"),
)  # fmt: skip
_ASK: Final = "Forget all requests of the inspector?"
_NONE: Final = "None yet: send a request, and it is here."


class InspectorView:
    """The view of the requests that are kept."""

    def __init__(self, kept: InspectedRequests) -> None:
        self._kept = kept

    def __call__(self, gateway: WatchedGateway) -> View:  # noqa: ARG002 a view looks at the gateway
        """Return the requests, newest first."""
        rows = [(str(entry["number"]), _cells(entry)) for entry in self._kept.last()]
        caption = f"The last {MOST} requests, newest first"
        table = Table("inspected", caption, _COLUMNS, rows, _NONE, ("/v1/inspector",), flows=True)
        actions = [action("Clear", "DELETE", "/v1/inspector", ask=_ASK)] if rows else []
        omitted = self._kept.omitted
        notes: list[tuple[State, str]] = (
            [("warn", f"{omitted} further requests came too fast to be kept")] if omitted else []
        )
        return View(notes=notes, tables=[table], actions=actions)


def _cells(entry: Entry) -> tuple[Cell, ...]:
    one = summary(entry)
    tries = f" (try {one['tries']})" if one["tries"] > 1 else ""
    path = f"/v1/inspector/{one['number']}"
    shown = {"t": str(cells.text(f"{one['method']} {one['target']}")), "code": True, "more": path, "by": _MODULE}
    return (
        shown,
        _status(one),
        cells.duration(one["duration"]),
        cells.clock(entry["started"]),
        cells.text(one["route"]),
        cells.text(f"{one['backend']}{tries}" if one["backend"] else None),
        cells.text(", ".join(one["changed_by"])),
    )


def _status(one: Mapping[str, Any]) -> Cell:
    kind: State = "bad" if one["status"] >= 500 else "warn" if one["status"] >= 400 else "ok"
    return {"t": f"{one['status']} {one['reason']}".strip(), "s": one["status"], "state": kind}
