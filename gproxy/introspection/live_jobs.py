"""The jobs of a worker: when they run, what came of them, and a run that an operator wants."""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, cast

from gproxy.introspection.worker_view import WorkerView


class LiveJobs(Protocol):
    """The jobs, as operators see and run them."""

    def snapshot(self) -> Iterable[Mapping[str, Any]]: ...
    def run_now(self, name: str, /) -> float:
        """Begin a run and return its begin. Raises LookupError, and ValueError if one is under way."""


def jobs(view: WorkerView) -> Iterator[Mapping[str, Any]]:
    """Yield each job: its next slot, the run under way, and the outcome of the last one."""
    found = _jobs(view)
    yield from found.snapshot() if found is not None else ()


def run_job(view: WorkerView, job: str, pid: int) -> Iterator[Mapping[str, Any]]:
    """Begin a run if this is the process, and yield its begin. Raises LookupError and ValueError."""
    found = _jobs(view)
    if pid == os.getpid() and found is not None:
        yield {"began": found.run_now(job)}


def _jobs(view: WorkerView) -> LiveJobs | None:
    """Return the part of the gateway that runs jobs; None without one."""
    return cast(LiveJobs | None, view.gateway.background.get("job"))
