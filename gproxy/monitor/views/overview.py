"""The overview: what is wrong, the figures of the moment, the graphs, what happened, and the busiest routes."""

from collections.abc import Iterator
from typing import Any

from gproxy.monitor.answers.upstreams import merged
from gproxy.monitor.gathered.changes import Change
from gproxy.monitor.views import cells, handlers, jobs, processes, routes, upstreams
from gproxy.monitor.views.model import Cell, State, Table, View, graph
from gproxy.monitor.watched_gateway import WatchedGateway

_BUSIEST = 8
_CHANGES = 12
_GRAPHS = (
    graph("requests", "Requests per second", "rate", requests="all", errors="errors"),
    graph("latency", "Duration of requests", "log", p50="p50", p99="p99"),
    graph("in_flight", "Requests in flight", "number", in_flight="in flight"),
    graph("lag", "Delay of the event loop", "duration", lag="worst worker"),
)
_KINDS: dict[str, tuple[str, State]] = {
    "reload": ("reload", "ok"),
    "reload_failed": ("reload failed", "bad"),
    "ejected": ("ejected", "bad"),
    "restored": ("restored", "ok"),
    "block": ("block", "warn"),
    "action": ("action", "none"),
    "worker": ("worker", "none"),
}


def view(gateway: WatchedGateway) -> View:
    """Return the overview."""
    answers = gateway.lines.ask_shared("upstreams")
    latest = gateway.figures.latest
    return View(
        notes=[*processes.silent(answers), *notes(gateway, upstreams.backends(merged(answers)))],
        facts=facts(gateway),
        graphs=_GRAPHS,
        tables=[
            *processes.stacks(gateway, answers),
            _reasons(latest.get("reasons", {})),
            routes.table(gateway, "Busiest routes in the last minute", busiest=_BUSIEST),
            _changes(gateway),
        ],
    )


def facts(gateway: WatchedGateway) -> list[tuple[str, Cell]]:
    """Return the figures of the moment."""
    latest = gateway.figures.latest
    count = latest.get("errors") or 0.0
    return [
        ("Requests/s", cells.rate(latest.get("requests"))),
        ("Errors/s", _errors(count)),
        ("p50", cells.duration(latest.get("p50"))),
        ("p99", cells.duration(latest.get("p99"))),
        ("In flight", cells.number(latest.get("in_flight"))),
        ("Loop lag", cells.duration(latest.get("lag"))),
        ("Blocks/min", cells.number(latest.get("blocks"))),
        ("Memory", cells.size(latest.get("memory"))),
        ("CPU", cells.share(latest.get("cpu"))),
    ]


def _errors(count: float) -> Cell:
    cell = cells.rate(count)
    return {**cell, "state": "bad"} if count and not isinstance(cell, str) else cell


def notes(gateway: WatchedGateway, found: list[dict[str, Any]]) -> Iterator[tuple[State, str]]:
    """Yield what is not as it should be, the worst first."""
    last = gateway.changes.last("reload", "reload_failed")
    if last is not None and last.kind == "reload_failed":
        yield "bad", last.text
    for one in found:
        if one["state"] in {"unhealthy", "trial"}:
            yield cells.STATES[one["state"]], _sentence(one)
    for one in found:
        if "override" in one:
            yield "warn", f"{one['upstream']} {one['backend']}: {upstreams.override_words(one['override'])}"
    yield from handlers.notes(gateway)
    yield from jobs.notes(gateway)


def _sentence(one: dict[str, Any]) -> str:
    why = f": {one['why']}" if one.get("why") else ""
    return f"{one['upstream']} {one['backend']} is {'on trial' if one['state'] == 'trial' else one['state']}{why}"


def _reasons(errors: dict[str, float]) -> Table:
    rows = sorted(((reason, rate) for reason, rate in errors.items() if rate), key=lambda one: -one[1])
    return Table(
        id="reasons",
        caption="Rejected and failed requests by reason",
        columns=(("Reason", "text"), ("Per second", "number")),
        rows=[(reason, (cells.code(reason), cells.rate(rate))) for reason, rate in rows],
        empty="None in this second. Errors that backends answer with have no reason.",
    )


def _changes(gateway: WatchedGateway) -> Table:
    found = gateway.changes.since()[-_CHANGES:][::-1]
    return Table(
        id="changes",
        caption="What happened",
        columns=(("When", "text"), ("What", "text"), ("Details", "wide")),
        rows=[(str(change.number), _change(change)) for change in found],
        empty="Nothing since the monitor began.",
    )


def _change(change: Change) -> tuple[Cell, ...]:
    word, kind = _KINDS[change.kind]
    return cells.clock(change.when), cells.state(word, kind=kind), cells.text(change.text)
