"""`GET /v1/status`: version, generation, reloads and workers, as the arbiter and the workers themselves see them."""

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from gproxy import __version__, is_compiled
from gproxy.monitor.answers.control import shown_level
from gproxy.monitor.api.operation import Call
from gproxy.monitor.gathered.generations import generations
from gproxy.monitor.processes.worker_lines import WorkerAnswer
from gproxy.monitor.times import rfc3339
from gproxy.monitor.watched_gateway import WatchedGateway

#: What the arbiter reports, until it has reported.
_NOTHING: Final[Mapping[str, Any]] = {
    "pid": 0, "generation": 0, "worker_count": 0, "started": 0.0, "reloading": None, "reloads": [], "rollbacks": 0,
    "probation": None,
    "workers": [], "overrides": [], "log_level": None,
}  # fmt: skip

#: What a worker reports for the figures of its generation alone.
_HISTOGRAM: Final = frozenset({"durations", "buckets"})


def status(call: Call) -> dict[str, Any]:
    """Return the state of the gateway and of each worker, with whether it answers."""
    gateway = call.gateway
    known = {**_NOTHING, **gateway.arbiter_state}
    answers = gateway.lines.ask("status")
    return {
        "title": gateway.settings.admin.name,
        "version": __version__,
        "compiled": is_compiled,
        "pid": known["pid"],
        "uptime": max(time.time() - known["started"], 0.0),
        "generation": known["generation"] or gateway.generation,
        "grace": gateway.settings.server.grace,
        "worker_count": known["worker_count"],
        "reloading": known["reloading"],
        "reloads": [{**one, "time": rfc3339(one["time"])} for one in known["reloads"]],
        "rollbacks": known["rollbacks"],
        "probation": _probation(known["probation"]),
        "overrides": [_override(one) for one in known["overrides"]],
        "log_level": shown_level(known["log_level"]),
        "generations": [one.describe() for one in generations(answers)],
        "workers": _workers(gateway, known["workers"], answers),
    }


def _override(kept: Mapping[str, Any]) -> dict[str, Any]:
    until = None if kept["until"] is None else rfc3339(kept["until"])
    return {**kept, "until": until, "since": rfc3339(kept["since"])}


def _probation(state: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if state is None else {"generation": state["generation"], "until": rfc3339(state["until"])}


def _workers(
    gateway: WatchedGateway, reported: Iterable[Mapping[str, Any]], found: Iterable[WorkerAnswer]
) -> list[dict[str, Any]]:
    """Return all workers: those that the arbiter reports, with their answers, and those that answer without that."""
    answers = {one.worker.pid: one for one in found}
    states = {one["pid"]: one for one in reported}
    workers = [_worker(gateway, pid, states.get(pid), answers.get(pid)) for pid in {**states, **answers}]
    return sorted(workers, key=lambda worker: (worker["generation"], worker["worker"]))


def _worker(
    gateway: WatchedGateway, pid: int, state: Mapping[str, Any] | None, answer: WorkerAnswer | None
) -> dict[str, Any]:
    known: dict[str, Any] = {"pid": pid}
    if state is not None:
        known |= {**state, "state_since": rfc3339(state["state_since"])}
    if answer is None:  # it has not opened yet, or has just ended
        return {**known, "answers": False, "error": "has no line to the monitor", "silent_since": None}
    known |= {"worker": answer.worker.number, "generation": answer.worker.generation, "answers": not answer.error}
    if not answer.error:
        return {**known, **{name: value for name, value in answer.parts[0].items() if name not in _HISTOGRAM}}
    since = rfc3339(answer.silent_since) if answer.silent_since else None
    stack = gateway.silent.stack(pid) if answer.silent_since else []
    return {**known, "error": answer.error, "silent_since": since, "stack": stack}
