"""A limiter that moves its counts between the memory of one process and memory that several processes share."""

import time
from collections.abc import Callable
from math import inf
from typing import Final, Protocol

import gevent

from gproxy.config.types import Rate
from gproxy.state.rate_limit.limiter import MemoryLimiter, Verdict
from gproxy.state.rate_limit.shared_limiter import SLIDING_WINDOW, Algorithm, SharedLimiter
from gproxy.state.shared.memory import SharedState

#: The number of clients to move before other greenlets get a turn.
_AT_ONCE: Final = 200


class Take(Protocol):
    """The method of a limiter that admits and counts."""

    def __call__(self, key: str, rate: Rate, within: float = inf, /) -> Verdict: ...


class Look(Protocol):
    """The method of a limiter that counts nothing."""

    def __call__(self, key: str, rate: Rate, /) -> float: ...


class HandoverLimiter:
    """A limiter that counts in this process while it serves alone, and in shared memory while others serve too."""

    def __init__(
        self,
        name: str,
        max_keys: int,
        clock: Callable[[], float] = time.monotonic,
        algorithm: Algorithm = SLIDING_WINDOW,
    ) -> None:
        self._name = name
        self._max_keys = max_keys
        self._clock = clock
        self._algorithm = algorithm
        self._evicted = 0
        self._use(MemoryLimiter(max_keys, clock, kind=algorithm.bucket))

    def _use(self, limiter: MemoryLimiter | SharedLimiter) -> None:
        self._limiter = limiter
        #: PERF: the limiter's own method, so that the ability to move costs no extra call.
        self.take: Take = limiter.take
        self.look: Look = limiter.look

    @property
    def evicted(self) -> int:
        """The number of clients evicted early because there were more than `max_keys`."""
        return self._evicted + self._limiter.evicted

    def share(self, state: SharedState) -> None:
        """Move all counts to shared memory. This takes 10 us a client, so other greenlets get turns meanwhile."""
        memory = self._limiter
        shared = SharedLimiter(state, self._name, self._max_keys, self._clock, self._algorithm)
        if isinstance(memory, MemoryLimiter):
            self._move(memory, shared)
        self._replace_by(shared)

    def _move(self, memory: MemoryLimiter, shared: SharedLimiter) -> None:
        def move(window: float, key: str) -> None:
            if entries := memory.remove(window, key):
                shared.put(key, entries, window)

        def take(key: str, rate: Rate, within: float = inf, /) -> Verdict:
            move(rate.window, key)
            return shared.take(key, rate, within)

        def look(key: str, rate: Rate, /) -> float:
            move(rate.window, key)
            return shared.look(key, rate)

        self.take = take
        self.look = look
        for number, (window, key) in enumerate(memory.clients(), 1):
            move(window, key)
            if number % _AT_ONCE == 0:
                gevent.sleep(0)

    def unshare(self, _: SharedState) -> None:
        """Count in this process again. Clients move on their next request: shared memory has only digests of keys."""
        if isinstance(self._limiter, SharedLimiter):
            origin, kind = self._limiter.origin, self._algorithm.bucket
            self._replace_by(MemoryLimiter(self._max_keys, self._clock, origin, kind))

    def _replace_by(self, limiter: MemoryLimiter | SharedLimiter) -> None:
        self._evicted += self._limiter.evicted
        self._use(limiter)
