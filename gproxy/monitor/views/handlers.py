"""The view of the handlers: where each is used, and what it counted in the last minute."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gproxy.monitor.answers.figures import describe_handler
from gproxy.monitor.views import cells
from gproxy.monitor.views.model import Cell, State, Table, View, unique
from gproxy.monitor.watched_gateway import WatchedGateway
from gproxy.observe import readable

_COLUMNS: Final = (
    ("Handler", "text"), ("Is", "text"), ("State", "text"), ("Own time p50", "number"), ("p99", "number"),
    ("Errors", "number"), ("Blocks", "number"), ("Counted in the last minute", "text"), ("Routes", "wide"),
    ("Last use", "number"),
)  # fmt: skip
_BLOCKS: Final = (
    ("When", "text"), ("Handler", "text"), ("For", "number"), ("Line", "text"), ("Request", "wide"),
    ("Worker", "number"),
)  # fmt: skip
#: What has a column of its own.
_SHOWN: Final = frozenset({"handler_duration_seconds", "handler_errors", "hub_blocked", "hub_blocked_seconds"})
#: The most routes of a handler that are named.
_ROUTES: Final = 6


def view(gateway: WatchedGateway) -> View:
    """Return all handlers."""
    settings, figures = gateway.settings, gateway.figures
    found = [describe_handler(name, settings, figures) for name in settings.handlers]
    rows = [(one["name"], _cells(gateway, one)) for one in found]
    blocks = unique((f"{one['when']}", _block(one)) for one in gateway.blocks)
    return View(
        tables=[
            Table(
                "handlers", "Handlers, with the last minute", _COLUMNS, rows, "There is no handler.", ("/v1/handlers",)
            ),
            Table("blocks", "Blocks of the event loop", _BLOCKS, blocks, "None since the monitor began."),
        ]
    )


def _block(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    request = f"{one.get('method', '')} {one.get('path', '')}".strip()
    return (
        cells.clock(one["when"]), cells.text(one.get("handler")), cells.duration(one["seconds"]),
        cells.code(one.get("place")), cells.code(request), cells.number(one["worker"]),
    )  # fmt: skip


def _cells(gateway: WatchedGateway, one: Mapping[str, Any]) -> tuple[Cell, ...]:
    counts = one["last_minute"]
    times = counts.get("handler_duration_seconds", {})
    used = gateway.figures.last_use(one["routes"])
    return (
        one["name"],
        cells.code(one["use"]),
        _state(one),
        cells.duration(times.get("p50")),
        cells.duration(times.get("p99")),
        _bad(counts.get("handler_errors")),
        _bad(counts.get("hub_blocked")),
        cells.text(", ".join(_words(name, value) for name, value in counts.items() if value and name not in _SHOWN)),
        cells.text(_routes(one["routes"])),
        cells.age(gateway.clock() - used if used is not None else None),
    )


def _routes(names: list[str]) -> str:
    """Return the names of the first routes, with the number of all if there are more."""
    shown = ", ".join(names[:_ROUTES])
    return shown if len(names) <= _ROUTES else f"{len(names)} routes: {shown}, …"


def _state(one: Mapping[str, Any]) -> Cell:
    """Return whether the handler fails, and else whether it decides."""
    if one["state"] != "ok":
        return cells.state(one["state"], kind="bad" if one["state"] == "skipped" else "warn")
    if one["mode"] != "enforce":
        return cells.state("only reports" if one["mode"] == "report" else "off", kind="warn")
    if one["reports_on"]:
        return cells.state("only reports", f"on {', '.join(one['reports_on'])}", kind="warn")
    return cells.state("ok", kind="ok")


def notes(gateway: WatchedGateway) -> Iterator[tuple[State, str]]:
    """Yield which handlers fail, and which do not decide."""
    settings, figures = gateway.settings, gateway.figures
    found = [describe_handler(name, settings, figures) for name in settings.handlers]
    for one in found:
        if one["state"] == "skipped":
            yield "bad", f"handler {one['name']} is skipped after errors"
        elif one["state"] == "failing":
            yield "warn", f"handler {one['name']} has failed in the last minute"
    for one in found:
        if one["mode"] != "enforce":
            yield "warn", f"handler {one['name']} {'only reports' if one['mode'] == 'report' else 'is off'}"
        elif one["reports_on"]:
            yield "warn", f"handler {one['name']} only reports on {', '.join(one['reports_on'])}"


def _bad(count: float | None) -> Cell:
    cell = cells.number(count)
    return {**cell, "state": "bad"} if count and not isinstance(cell, str) else cell


def _words(name: str, value: object) -> str:
    """Return a count with its name, without the names of units: `rate limited 12`."""
    if isinstance(value, dict):
        median = value.get("p50")
        return f"{name.removesuffix('_seconds').replace('_', ' ')} p50 {readable.duration(median or 0.0)}"
    return f"{name.replace('_', ' ')} {value:g}"
