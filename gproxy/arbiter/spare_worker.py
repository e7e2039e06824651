"""A worker that is started ahead of the next reload, with `reload = on`: imports take most of the time of a start."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from gproxy.arbiter.event_loop import EventLoop
from gproxy.arbiter.spawn import CannotStartError, Spawned
from gproxy.arbiter.workers import Workers

#: Seconds from the end of a reload to the start of the spare: the new workers and the old ones have the cores first.
_DELAY: Final = 0.3


class SpareWorker:
    """The first worker of the next generation, or none. It has imported no user code."""

    def __init__(self, loop: EventLoop, workers: Workers, start: Callable[[int, int], Spawned]) -> None:
        self._loop = loop
        self._workers = workers
        self._start = start
        self._spare: Spawned | None = None
        #: The number of the generation that the spare is for.
        self._generation = 0

    def prepare(self, generation: int) -> None:
        """Start a spare for the generation of this number, after a while."""
        self._generation = generation
        self._loop.after(_DELAY, partial(self._prepare, generation))

    def _prepare(self, generation: int) -> None:
        if generation == self._generation and self._spare is None:
            with suppress(CannotStartError):  # the reload reports it
                self._spare = self._start(generation, 1)
                self._workers.watch(self._spare.pid, lambda _: self._forget())

    def take(self, generation: int) -> Spawned:
        """Return a worker of this generation: the spare, if it has one, else a new process. Raises CannotStartError."""
        spare = self._spare
        if spare is None or spare.generation != generation:
            self.discard()
            return self._start(generation, 1)
        self._workers.forget(spare.pid)
        self._spare, self._generation = None, 0
        return spare

    def discard(self) -> None:
        """Kill the spare, and start no other."""
        self._generation = 0
        if self._spare is not None:
            self._workers.forget(self._spare.pid)
            with suppress(ProcessLookupError):
                os.kill(self._spare.pid, signal.SIGKILL)
            self._forget()

    def _forget(self) -> None:
        """Close the line to a spare that has ended, or will."""
        if self._spare is not None:
            self._spare.control.close()
            self._spare = None
