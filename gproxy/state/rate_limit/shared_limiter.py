"""The limiter of several processes, in memory that they share."""

import time
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from hashlib import blake2b
from math import inf
from typing import Final, NamedTuple

from gproxy.config.types import Rate
from gproxy.state.rate_limit.bucket import Bucket, Entry, SlidingWindow, TokenBucket, Verdict
from gproxy.state.rate_limit.client_buckets import Origin
from gproxy.state.rate_limit.limiter import MemoryLimiter
from gproxy.state.rate_limit.shared_table import SharedTable, TokenTable, WindowTable
from gproxy.state.shared.memory import SharedState


class Algorithm(NamedTuple):
    """A way to count: its bucket in one process; its table in shared memory, by name, window and number of clients."""

    name: str
    bucket: type[Bucket]
    open: Callable[[SharedState, str, float, int], SharedTable | None]


SLIDING_WINDOW: Final = Algorithm("limit", SlidingWindow, WindowTable.open)
TOKEN_BUCKET: Final = Algorithm("tokens", TokenBucket, TokenTable.open)


class SharedLimiter:
    """The limiter of several processes: each process admits requests as if it had seen those of all."""

    def __init__(
        self,
        state: SharedState,
        name: str,
        max_keys: int,
        clock: Callable[[], float] = time.monotonic,
        algorithm: Algorithm = SLIDING_WINDOW,
    ) -> None:
        self._state = state
        self._name = name
        self._max_keys = max_keys
        self._clock = clock
        self._open = algorithm.open
        self._tag = lru_cache(4096)(partial(tag_of, state.secret))
        self._windows: dict[float, SharedTable | None] = {}
        self._last_rate: Rate | None = None
        self._last_table: SharedTable | None = None
        #: The limiter for windows without room in shared memory.
        self._alone = MemoryLimiter(max_keys, clock, kind=algorithm.bucket)

    @property
    def evicted(self) -> int:
        """The number of clients that this process evicted early because there were too many."""
        return self._alone.evicted + sum(table.evicted for table in self._windows.values() if table)

    def take(self, key: str, rate: Rate, within: float = inf, /) -> Verdict:
        """Admit one more request of `key` if the rate allows it, and count it then."""
        if rate is not self._last_rate:  # PERF: hashing a window costs more than this
            self._last_rate, self._last_table = rate, self._of(rate.window)
        table = self._last_table
        if table is None:
            return self._alone.take(key, rate, within)
        return table.take(self._tag(key), rate, within, self._clock)

    def look(self, key: str, rate: Rate, /) -> float:
        """Return the seconds until one more request of `key` is admitted; 0 for now. Count nothing."""
        table = self._of(rate.window)
        return self._alone.look(key, rate) if table is None else table.look(self._tag(key), rate, self._clock)

    def _of(self, window: float) -> SharedTable | None:
        if window not in self._windows:
            self._windows[window] = self._open(self._state, self._name, window, self._max_keys)
        return self._windows[window]

    def put(self, key: str, entries: Iterable[Entry], window: float) -> None:
        """Add requests of a client that were admitted elsewhere."""
        if table := self._of(window):
            table.put(self._tag(key), entries, window, self._clock())

    def origin(self, window: float) -> Origin | None:
        """Return a source of entries for a later limiter: each client's entries once, while they still count."""
        if not (table := self._of(window)):
            return None
        until = self._clock() + window
        return lambda key, now: table.pull(self._tag(key), window, now) if now < until else ()


def tag_of(secret: bytes, key: str) -> int:
    """Return a client's tag. Without the secret, clients cannot find keys that share a set or a tag.

    The tag is never 0, which marks an empty slot.
    """
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, key=secret).digest()
    return int.from_bytes(digest, "little") or 1
