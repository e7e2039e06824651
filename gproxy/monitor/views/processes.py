"""The view of the processes: arbiter, workers, reloads."""

from collections.abc import Mapping
from typing import Any, Final

from gproxy.monitor.views import cells
from gproxy.monitor.views.model import Cell, State, Table, View
from gproxy.monitor.watched_gateway import WatchedGateway
from gproxy.monitor.worker_lines import WorkerAnswer

_COLUMNS: Final = (
    ("Worker", "text"), ("State", "text"), ("Generation", "number"), ("PID", "number"), ("Up", "number"),
    ("Requests", "number"), ("Connections", "number"), ("Memory", "number"), ("CPU time", "number"),
    ("Descriptors", "number"),
)  # fmt: skip


def view(gateway: WatchedGateway) -> View:
    """Return the workers."""
    found = gateway.lines.ask("status")
    notes: list[tuple[State, str]] = [
        ("bad", f"worker {one.worker.number} (pid {one.worker.pid}) {one.error}{_since(one)}")
        for one in found
        if one.error
    ]
    rows = [(str(one.worker.pid), _cells(one)) for one in found]
    return View(notes, _facts(gateway), tables=[Table("workers", "Workers", _COLUMNS, rows, "No worker answers.")])


def _facts(gateway: WatchedGateway) -> list[tuple[str, Cell]]:
    return [("Generation", cells.number(gateway.generation)), ("Open pages", cells.number(gateway.events.count))]


def _since(answer: WorkerAnswer) -> str:
    return f" since {cells.clock_text(answer.silent_since)}" if answer.silent_since else ""


def _cells(answer: WorkerAnswer) -> tuple[Cell, ...]:
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
