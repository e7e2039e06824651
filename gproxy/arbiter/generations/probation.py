"""`[server] probation`: a generation whose handlers fail too often after a reload gives way to an earlier one."""

import logging
from collections.abc import Callable
from time import monotonic, time
from typing import Any, Final

from gproxy.arbiter.generations.generation import Generation
from gproxy.arbiter.generations.history import GenerationHistory
from gproxy.arbiter.generations.reload import Reload, ReloadQueue
from gproxy.arbiter.messages import Beat
from gproxy.arbiter.worker_process import WorkerProcess
from gproxy.config.types.units import write_percent

_log = logging.getLogger("gproxy")

#: The fewest requests that are judged.
_LEAST: Final = 20


class Probation:
    """The watch of the generation that serves; it calls `reload` with a rollback, once.

    The rollback returns to the last generation that has passed its own probation: a second reload soon after the first
    often brings the same code. Without such a generation it returns to the one before.
    A generation that serves from the start, or after a rollback, is not on probation.
    """

    def __init__(self, history: GenerationHistory, reloads: ReloadQueue, reload: Callable[[Reload], None]) -> None:
        self._history = history
        self._reloads = reloads
        self._reload = reload
        self._generation = 0
        self._share = 0.0
        #: The end on the monotonic clock, and as Unix time; 0: no probation.
        self._ends = self._until = 0.0
        self._has_failed = False
        #: The last heartbeat of each worker, by its process id, of those that have ended too.
        self._beats: dict[int, Beat] = {}

    def begin(self, generation: Generation, reload: Reload | None) -> None:
        """Watch the generation, which serves from now on; `reload` is what has started it, None for the start."""
        seconds = 0.0 if reload is None or reload.is_rollback else generation.server.probation
        self._generation, self._share = generation.number, generation.server.probation_errors
        self._ends, self._until = (monotonic() + seconds, time() + seconds) if seconds else (0.0, 0.0)
        self._has_failed = False
        self._beats.clear()

    def note(self, worker: WorkerProcess, beat: Beat) -> None:
        """Add up what the workers have counted, and judge it."""
        if worker.generation_number != self._generation or monotonic() >= self._ends:
            return
        self._beats[worker.pid] = beat
        requests = sum(one.requests for one in self._beats.values())
        failures = sum(one.failures for one in self._beats.values())
        # A reload under way brings other code anyway, or fails; then the next heartbeat is judged.
        if requests >= _LEAST and failures > self._share * requests and self._reloads.current is None:
            self._fail(requests, failures, beat.last)

    def _fail(self, requests: int, failures: int, last: str) -> None:
        self._ends = self._until = 0.0
        self._has_failed = True
        last = last or next((one.last for one in self._beats.values() if one.last), "")
        failed = f"{failures / requests:.1%} of {requests} requests failed in handlers"
        example = f"; the last in {last}" if last else ""
        limit = write_percent(self._share)
        reason = f"generation {self._generation} fails its probation: {failed}, more than {limit}{example}"
        _log.error("%s", reason)
        self._reload(Reload("probation", is_rollback=True, reading=self._history.proven, why=[reason]))

    @property
    def is_passed(self) -> bool:
        """True if the generation is not on probation, and has failed none."""
        return not self._has_failed and monotonic() >= self._ends

    def report(self) -> dict[str, Any] | None:
        """Return the generation on probation, with the Unix time of its end; None without one."""
        if monotonic() >= self._ends:
            return None
        return {"generation": self._generation, "until": self._until}
