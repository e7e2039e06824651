"""`GET /v1/status`: version, generation, reloads and workers."""

from typing import Any

from gproxy import __version__, is_compiled
from gproxy.monitor.operation import Call
from gproxy.monitor.times import rfc3339
from gproxy.monitor.worker_lines import WorkerAnswer


def status(call: Call) -> dict[str, Any]:
    """Return the state of the gateway and of each worker, with whether it answers."""
    gateway = call.gateway
    return {
        "title": gateway.settings.admin.name,
        "version": __version__,
        "compiled": is_compiled,
        "generation": gateway.generation,
        "grace": gateway.settings.server.grace,
        **gateway.arbiter_state,
        "workers": [_worker(one) for one in gateway.lines.ask("status")],
    }


def _worker(answer: WorkerAnswer) -> dict[str, Any]:
    worker = answer.worker
    known = {"worker": worker.number, "generation": worker.generation, "pid": worker.pid, "answers": not answer.error}
    if answer.error:
        since = rfc3339(answer.silent_since) if answer.silent_since else None
        return known | {"error": answer.error, "silent_since": since}
    return known | answer.parts[0]
