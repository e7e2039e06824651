"""What operators change at run time, and what outlives a reload: overrides of backends, and a level of the error log.

The arbiter keeps these changes, so new workers and new generations have them too. A restart forgets them.
"""

import logging
from dataclasses import asdict, dataclass
from math import inf
from time import time
from typing import Any, Final

from gproxy.arbiter import messages
from gproxy.arbiter.worker_process import WorkerProcess
from gproxy.arbiter.workers import Workers
from gproxy.config.record import Record
from gproxy.observe import log

_log = logging.getLogger("gproxy")

#: The most overrides that are kept.
_MOST: Final = 200


class BackendOverrides:
    """The overrides of backends, by upstream and backend.

    The monitor sends an override to the workers that serve, and each of them ends it in time. What is kept here is for
    later workers, as fields of upstream.override.BackendOverride.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], dict[str, Any]] = {}
        #: The number of the generation that serves.
        self._serving = 0
        #: The generations with the overrides whose backends they do not have.
        self._lacking: set[tuple[int, str, str]] = set()

    def keep(self, upstream: str, backend: str, fields: dict[str, Any] | None) -> None:
        """Keep an override in place of an earlier one of this backend; None: keep none. Raises ValueError."""
        if fields is None:
            self._kept.pop((upstream, backend), None)
            return
        if len(self._kept) >= _MOST and (upstream, backend) not in self._kept:
            raise ValueError(f"{_MOST} overrides are kept already; reset some")
        self._kept[upstream, backend] = fields

    def give(self, worker: WorkerProcess) -> None:
        """Send all overrides to a worker that is going to accept."""
        self.lapse()
        for (upstream, backend), fields in self._kept.items():
            worker.send(messages.Override(upstream, backend, fields))

    def lapse(self) -> None:
        """Forget the overrides whose time is over."""
        now = time()
        self._kept = {place: fields for place, fields in self._kept.items() if (fields["until"] or inf) > now}

    def lacks(self, generation: int, upstream: str, backend: str) -> None:
        """Drop the override of a backend that the generation does not have, once it serves."""
        if generation == self._serving:
            self._drop(upstream, backend)
        elif (upstream, backend) in self._kept:
            self._lacking.add((generation, upstream, backend))

    def serve(self, generation: int) -> None:
        """Note the generation that serves from now on, and drop the overrides whose backends it does not have."""
        self._serving = generation
        for number, upstream, backend in self._lacking:
            if number == generation:
                self._drop(upstream, backend)
        self._lacking.clear()

    def _drop(self, upstream: str, backend: str) -> None:
        fields = self._kept.pop((upstream, backend), None)
        if fields is not None:
            what = "upstream %s: generation %d has no backend %s; the override by %s is dropped"
            _log.warning(what, upstream, self._serving, backend, fields["author"])

    def report(self) -> list[dict[str, Any]]:
        """Return the overrides with their places."""
        return [
            {"upstream": upstream, "backend": backend, **fields} for (upstream, backend), fields in self._kept.items()
        ]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _Level(Record):
    level: str
    logger: str
    until: float
    author: str
    since: float


class TemporaryLogLevel:
    """A level that one logger has for a time, in all processes of the gateway; then the level of the file returns."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._level: _Level | None = None

    def hold(self, level: str, logger: str, until: float, author: str) -> None:
        """Give the logger this level until that Unix time, in place of an earlier such level. Raises ValueError."""
        if level not in ("debug", "info", "warning", "error"):
            raise ValueError(f"level: expected debug, info, warning or error; found {level!r}")
        if until <= time():
            self._end()
            return
        self._level = _Level(level, logger, until, author, time())
        log.hold_level(logger, level)
        self._workers.send(messages.LogLevel(level, logger))

    def give(self, worker: WorkerProcess) -> None:
        """Send the level to a worker that is going to accept."""
        if self._level is not None:
            worker.send(messages.LogLevel(self._level.level, self._level.logger))

    def lapse(self) -> None:
        """End the level if its time is over."""
        if self._level is not None and self._level.until <= time():
            self._end()

    def _end(self) -> None:
        if self._level is not None:
            _log.info("logger %s: the level of the settings holds again", self._level.logger or "root")
            self._level = None
            log.hold_level("", "")
            self._workers.send(messages.LogLevel("", ""))

    def report(self) -> dict[str, Any] | None:
        """Return the level with its logger, its end and its author; None without one."""
        return asdict(self._level) if self._level is not None else None
