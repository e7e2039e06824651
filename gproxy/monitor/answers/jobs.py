"""The jobs over all workers, and runs that operators want."""

from collections.abc import Mapping
from typing import Any

from gproxy.config.problems import suggest
from gproxy.http.errors import HTTPError
from gproxy.monitor.access import audit
from gproxy.monitor.api.operation import Call
from gproxy.monitor.processes.worker_lines import WorkerAnswer
from gproxy.monitor.times import rfc3339
from gproxy.monitor.watched_gateway import WatchedGateway


def jobs(call: Call) -> dict[str, Any]:
    """Return all jobs: the next slot of each, the runs under way, and the last outcomes."""
    return {"jobs": found_jobs(call.gateway)}


def found_jobs(gateway: WatchedGateway) -> list[dict[str, Any]]:
    """Return the jobs with their runs: one of a job that one worker runs, else one of each worker."""
    answers = _newest(gateway.lines.ask("jobs"), gateway.generation)
    found: dict[str, dict[str, Any]] = {}
    for answer in answers:
        for part in answer.parts:
            job = found.setdefault(
                part["name"], {"name": part["name"], "on": part["on"], "next": rfc3339(part["next"]), "runs": []}
            )
            if part["on"] == "worker" or not job["runs"]:
                worker = answer.worker.number if part["on"] == "worker" else None
                job["runs"].append({"worker": worker, **_run(part)})
    return list(found.values())


def _newest(answers: list[WorkerAnswer], generation: int) -> list[WorkerAnswer]:
    """Return the answers of the generation that serves; of all, if it has none."""
    return [one for one in answers if one.worker.generation == generation] or answers


def _run(part: Mapping[str, Any]) -> dict[str, Any]:
    since, last = part["running_since"], part["last"]
    return {
        "running_since": None if since is None else rfc3339(since),
        "last": None if last is None else {**last, "began": rfc3339(last["began"])},
    }


def run_job(call: Call) -> dict[str, Any]:
    """Begin a run of a job in one worker, and return its begin. Raises HTTPError 404, 409 and 503."""
    name = call.values["job"]
    lines = call.gateway.lines
    answers = _newest(lines.ask("jobs"), call.gateway.generation)
    known = {part["name"]: answer.worker for answer in answers for part in answer.parts}
    if name not in known:
        silent = next((one.error for one in answers if one.error), "")
        if silent and not known:
            raise HTTPError(503, f"no worker answers: {silent}")
        raise HTTPError(404, f"unknown job {name!r}{suggest(name, known)}")
    worker = known[name]
    answer = next((one for one in lines.ask("run_job", {"job": name, "pid": worker.pid}) if one.worker == worker), None)
    if answer is None or not answer.parts:
        raise HTTPError(409, answer.error if answer is not None and answer.error else "the worker has ended")
    audit.record(call, f"job {name} run in worker {worker.number}")
    return {"job": name, "worker": worker.number, "began": rfc3339(answer.parts[0]["began"])}
