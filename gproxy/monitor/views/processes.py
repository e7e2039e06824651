"""The view of the processes: workers, reloads, and what an operator can do with them."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gproxy.monitor.gathered.generations import generations
from gproxy.monitor.processes.worker_lines import WorkerAnswer
from gproxy.monitor.views import cells, jobs
from gproxy.monitor.views.model import Cell, State, Table, View, action, field_of
from gproxy.monitor.watched_gateway import WatchedGateway

_WORKERS: Final = (
    ("Worker", "text"), ("State", "text"), ("Generation", "number"), ("PID", "number"), ("Up", "number"),
    ("Requests", "number"), ("Connections", "number"), ("Memory", "number"), ("CPU time", "number"),
    ("Descriptors", "number"),
)  # fmt: skip
_GENERATIONS: Final = (
    ("Generation", "number"), ("State", "text"), ("Workers", "number"), ("Age", "number"), ("Requests", "number"),
    ("Errors", "number"), ("p99", "number"),
)  # fmt: skip
_RELOADS: Final = (("When", "text"), ("Outcome", "text"), ("Generation", "number"), ("By", "text"), ("Reasons", "wide"))
_LEVELS: Final = "debug, info, warning or error"


def view(gateway: WatchedGateway) -> View:
    """Return the workers and the last reloads."""
    found = gateway.lines.ask("status")
    workers = [(str(one.worker.pid), _worker(one)) for one in found]
    reloads = [(str(one["time"]), _reload(one)) for one in reversed(gateway.arbiter_state.get("reloads", ()))]
    return View(
        notes=list(silent(found)),
        facts=_facts(gateway, len(found)),
        actions=_actions(gateway),
        tables=[
            Table("workers", "Workers", _WORKERS, workers, "No worker answers.", ("gproxy ps", "/v1/status")),
            *_side_by_side(gateway, found),
            *stacks(gateway, found),
            *jobs.tables(gateway),
            Table("reloads", "Reloads", _RELOADS, reloads, "None since the start."),
        ],
    )


def _side_by_side(gateway: WatchedGateway, answers: list[WorkerAnswer]) -> Iterator[Table]:
    """Yield the table of the generations while there are several: a new one that is slower or fails more is seen."""
    found, serving = generations(answers), gateway.arbiter_state.get("generation") or gateway.generation
    if len(found) < 2:
        return
    rows = [
        (
            f"{one.generation}",
            (
                cells.number(one.generation),
                cells.state(
                    "serves" if one.generation == serving else "drains" if one.generation < serving else "opens"
                ),
                cells.number(one.workers),
                cells.age(one.age),
                cells.number(one.requests),
                cells.errors(one.errors, one.requests),
                cells.duration(one.p99),
            ),
        )
        for one in found
    ]
    yield Table("generations", "Generations, since the start of each", _GENERATIONS, rows, "", ("gproxy ps",))


def silent(answers: list[WorkerAnswer]) -> Iterator[tuple[State, str]]:
    """Yield a note on each worker that does not answer."""
    for one in answers:
        if one.error:
            since = f" since {cells.clock_text(one.silent_since)}" if one.silent_since else ""
            yield "bad", f"Worker {one.worker.number} (pid {one.worker.pid}) {one.error}{since}"


def stacks(gateway: WatchedGateway, answers: list[WorkerAnswer]) -> Iterator[Table]:
    """Yield the table of the stacks of workers that do not answer, if there are any."""
    rows = [(f"{one.worker.pid}", _stack(gateway, one)) for one in answers if one.silent_since]
    if rows:
        yield Table("stacks", "Where workers that do not answer are", (("Worker", "text"), ("Stack", "wide")), rows)


def _stack(gateway: WatchedGateway, answer: WorkerAnswer) -> tuple[Cell, ...]:
    lines = gateway.silent.stack(answer.worker.pid)
    return f"worker {answer.worker.number}", {"t": "\n".join(lines) or cells.NONE, "code": True}


def _facts(gateway: WatchedGateway, count: int) -> list[tuple[str, Cell]]:
    state = gateway.arbiter_state
    started, level = state.get("started"), state.get("log_level")
    return [
        ("Generation", cells.number(state.get("generation") or gateway.generation)),
        *_probation(state.get("probation"), gateway.clock()),
        ("Up", cells.age(gateway.clock() - started if started else None)),
        ("Workers", cells.number(count)),
        ("Open pages", cells.number(gateway.events.count)),
        ("Log level", level["level"] if level else gateway.settings.log.level),
    ]


def _probation(state: Mapping[str, Any] | None, now: float) -> Iterator[tuple[str, Cell]]:
    """Yield the end of the probation, if the generation that serves is on one."""
    if state is not None and state["until"] > now:
        yield "Probation", f"until {cells.clock_text(state['until'])}"


def _worker(answer: WorkerAnswer) -> tuple[Cell, ...]:
    worker = answer.worker
    facts: Mapping[str, Any] = answer.parts[0] if answer.parts else {}
    word = "silent" if answer.error else "drains" if facts.get("draining") else "serves"
    return (
        f"worker {worker.number}",
        cells.state(word, answer.error),
        cells.number(worker.generation),
        {"t": str(worker.pid), "s": worker.pid},
        cells.age(facts.get("uptime")),
        cells.number(facts.get("requests")),
        cells.number(facts.get("connections")),
        cells.size(facts.get("memory")),
        cells.duration(facts.get("cpu")),
        cells.number(facts.get("descriptors")),
    )


def _reload(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    outcome = cells.state("succeeded" if one["succeeded"] else "failed")
    return (
        cells.clock(one["time"]), outcome, cells.number(one["generation"]), cells.text(one["cause"]),
        cells.text("; ".join(one["reasons"])),
    )  # fmt: skip


def _actions(gateway: WatchedGateway) -> list[dict[str, Any]]:
    level = (
        field_of("level", f"Level: {_LEVELS}", value="debug"),
        field_of("for", "For", value="10m"),
    )
    count = field_of("count", "Workers", value=str(gateway.settings.server.workers), kind="number")
    found = (
        ("Reload", "POST", "/v1/reload", "Read the settings again, as HUP does?", "reload", ()),
        ("Roll back", "POST", "/v1/rollback", "Return to settings and code of the generation before this one?",
         "rollback", ()),
        ("Workers", "POST", "/v1/workers", "Run another number of workers until a reload?", "scale {count}", (count,)),
        ("Log level", "PUT", "/v1/log-level", "Change the level of the error log for a time?",
         "set-log-level {level} for={for}", level),
        ("Reopen logs", "POST", "/v1/reopen", "Open the access logs anew, as USR1 does?", "reopen", ()),
    )  # fmt: skip
    return [
        action(label, method, path, ask=ask, command=f"gproxy admin {own}", inputs=inputs)
        for label, method, path, ask, own, inputs in found
    ]
