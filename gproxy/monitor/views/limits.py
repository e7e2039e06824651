"""The view of the limits: how near each is, and what was rejected in the last minute."""

from collections.abc import Iterator
from typing import Any, Final

from gproxy.monitor.answers import upstreams as answers
from gproxy.monitor.views import cells
from gproxy.monitor.views.model import Cell, Table, View
from gproxy.monitor.watched_gateway import WatchedGateway

_COLUMNS: Final = (
    ("Limit", "text"), ("Of", "text"), ("Now", "number"), ("Most", "number"), ("Used", "number"),
    ("Rejected in the last minute", "number"), ("Waited", "number"),
)  # fmt: skip
_Row = tuple[str, tuple[Cell, ...]]


def view(gateway: WatchedGateway) -> View:
    """Return the limits of the server, of upstreams and of handlers."""
    rows = [*_of_server(gateway), *_of_upstreams(gateway), *_of_handlers(gateway)]
    return View(tables=[Table("limits", "Limits", _COLUMNS, rows)])


def _row(name: str, of: str, now: float | None, most: float | None, rejected: float, waited: float = 0) -> _Row:
    used = now / most if most and now is not None else None
    cell = cells.share(used)
    if used is not None and used >= 0.8 and not isinstance(cell, str):
        cell = {**cell, "state": "warn"}
    numbers = cells.number(now), cells.number(most), cell, cells.number(rejected), cells.number(waited)
    return f"{of} {name}", (name, of, *numbers)


def _of_server(gateway: WatchedGateway) -> Iterator[_Row]:
    """Yield the limits of the listeners, which each worker has by itself."""
    server, latest = gateway.settings.server, gateway.figures.latest
    workers = max(1, sum(1 for worker in gateway.lines if worker.generation == gateway.generation))
    yield _row("max_connections", "[server]", latest.get("connections"), server.max_connections * workers or None, 0)


def _of_upstreams(gateway: WatchedGateway) -> Iterator[_Row]:
    for name, one in answers.merged(gateway.lines.ask_shared("upstreams")).items():
        if "limit" in one:
            of = f"[upstream:{name}]"
            yield _row("limit", of, one["active"], one["limit"], 0)
            yield _row("queue", of, one["queued"], gateway.settings.upstreams[name].queue.length or None, 0)


def _of_handlers(gateway: WatchedGateway) -> Iterator[_Row]:
    for name, found in gateway.settings.handlers.items():
        counts: dict[str, Any] = gateway.figures.of_handler(name)
        rejected = {key: value for key, value in counts.items() if key.endswith("_limited")}
        if rejected or found.use in {"rate_limit", "concurrency"}:
            waited = counts.get("rate_limit_delayed", 0)
            yield _row(found.use, f"[handler:{name}]", None, None, sum(rejected.values()), waited)
