"""A limiter that moves: what one process has counted alone must go on counting when others serve beside it."""

import time
from collections.abc import Callable
from typing import Final

import gevent

from gproxy.config.types import Rate
from gproxy.state.rate_limit.limiter import MemoryLimiter, Verdict
from gproxy.state.rate_limit.shared_limiter import SharedLimiter
from gproxy.state.shared.memory import SharedState

#: How many clients move before others have their turn.
_AT_ONCE: Final = 200


class HandoverLimiter:
    """Counts in this process while it serves alone, in shared memory while others serve beside it."""

    def __init__(self, name: str, max_keys: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._max_keys = max_keys
        self._clock = clock
        self._evicted = 0
        self._use(MemoryLimiter(max_keys, clock))

    def _use(self, limiter: MemoryLimiter | SharedLimiter) -> None:
        self._limiter = limiter
        #: PERF: the limiter's own method, so that moving costs nothing when asked.
        self.take: Callable[[str, Rate], Verdict] = limiter.take

    @property
    def evicted(self) -> int:
        """How many clients were forgotten early because there were more than `max_keys`."""
        return self._evicted + self._limiter.evicted

    def share(self, state: SharedState) -> None:
        """What was counted here goes where all count. It takes 10 us a client, so others have their turn meanwhile."""
        memory, shared = self._limiter, SharedLimiter(state, self._name, self._max_keys, self._clock)
        if isinstance(memory, MemoryLimiter):
            self._move(memory, shared)
        self._replace_by(shared)

    def _move(self, memory: MemoryLimiter, shared: SharedLimiter) -> None:
        def move(window: float, key: str) -> None:
            if entries := memory.remove(window, key):
                shared.put(key, entries, window)

        def take(key: str, rate: Rate) -> Verdict:
            move(rate.window, key)
            return shared.take(key, rate)

        self.take = take
        for number, (window, key) in enumerate(memory.clients(), 1):
            move(window, key)
            if number % _AT_ONCE == 0:
                gevent.sleep(0)

    def unshare(self, _: SharedState) -> None:
        """Count here again. Clients are fetched when they come, for keys cannot be told from what is in the memory."""
        if isinstance(self._limiter, SharedLimiter):
            self._replace_by(MemoryLimiter(self._max_keys, self._clock, self._limiter.origin))

    def _replace_by(self, limiter: MemoryLimiter | SharedLimiter) -> None:
        self._evicted += self._limiter.evicted
        self._use(limiter)
