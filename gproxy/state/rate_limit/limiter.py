"""A limiter that counts the requests of each client in a sliding window: exact, and bounded in memory.

A bucket has admitted requests in groups: all requests of a sixtieth of the window are one entry, with the date of the
last of them. An entry counts until a whole window has passed since that date. So no window of any position has more
than the limit, and a request stops counting at most a sixtieth of the window late. A bucket has at most 61 entries,
however high the limit. Rejected requests are not counted: a client that waits for `Retry-After` is admitted.
"""

import time
from collections.abc import Callable, Iterable
from math import inf
from typing import Protocol

from gproxy.config.types import Rate
from gproxy.state.rate_limit.bucket import STEPS, Bucket, Entry, SlidingWindow, Verdict
from gproxy.state.rate_limit.client_buckets import ClientBuckets, Origin

__all__ = ["STEPS", "Limiter", "MemoryLimiter", "Verdict"]


class Limiter(Protocol):
    """A counter of requests: in this process, in shared memory, or in a store of several machines."""

    def take(self, key: str, rate: Rate, within: float = inf, /) -> Verdict:
        """Return the verdict on one more request of `key`. Raises StoreUnavailableError without counts.

        `within`, for token buckets, bounds the seconds until the bucket is full again, besides the rate's window.
        """

    def look(self, key: str, rate: Rate, /) -> float:
        """Return the seconds until one more request of `key` is admitted; 0 for now. Count nothing.

        Raises StoreUnavailableError without counts.
        """


class MemoryLimiter:
    """The limiter of a single process.

    It has at most `max_keys` clients for each window; beyond that it evicts the client that was idle longest. Rates
    with the same window share their counts: a changed limit continues with the requests admitted before. `clock`
    returns seconds that never jump. `origin` returns, for a window, a source of earlier entries of unknown clients.
    `kind` is the algorithm.
    """

    def __init__(
        self,
        max_keys: int,
        clock: Callable[[], float] = time.monotonic,
        origin: Callable[[float], Origin | None] = lambda _: None,
        kind: type[Bucket] = SlidingWindow,
    ) -> None:
        self._max_keys = max_keys
        self._clock = clock
        self._origin = origin
        self._kind = kind
        self._windows: dict[float, ClientBuckets] = {}
        self._last_rate: Rate | None = None
        self._last_buckets: ClientBuckets

    @property
    def evicted(self) -> int:
        """The number of clients evicted early because there were more than `max_keys`."""
        return sum(buckets.evicted for buckets in self._windows.values())

    def take(self, key: str, rate: Rate, within: float = inf, /) -> Verdict:
        """Admit one more request of `key` if the rate allows it, and count it then."""
        now = self._clock()
        return self._bucket(key, rate, now).take(rate, now, within)

    def look(self, key: str, rate: Rate, /) -> float:
        """Return the seconds until one more request of `key` is admitted; 0 for now. Count nothing."""
        now = self._clock()
        bucket = self._of(rate).find(key, now, rate.window)
        return 0.0 if bucket is None else bucket.look(rate, now)

    def clients(self) -> list[tuple[float, str]]:
        """Return the window and key of every counted client."""
        return [(window, key) for window, buckets in self._windows.items() for key in buckets]

    def remove(self, window: float, key: str) -> Iterable[Entry]:
        """Remove a client and return its admitted requests. The caller must not `take` here any more."""
        bucket = self._windows[window].pop(key, None) if window in self._windows else None
        return () if bucket is None else bucket.counting(self._clock(), window)

    def _bucket(self, key: str, rate: Rate, now: float) -> Bucket:
        """Return the bucket of the key. Insert it again once a window, so that a bucket that counts never expires."""
        # PERF: a handler uses the same rate each time, and hashing a window costs more than this.
        buckets = self._last_buckets if rate is self._last_rate else self._of(rate)
        bucket = buckets.recent.get(key)
        if bucket is None or now - bucket.kept_at > rate.window:
            bucket = buckets.bucket(key, now, rate.window)
        return bucket

    def _of(self, rate: Rate) -> ClientBuckets:
        window = rate.window
        if window not in self._windows:
            origin = self._origin(window)
            self._windows[window] = ClientBuckets(self._max_keys, window, self._clock, self._kind, origin)
        self._last_rate, self._last_buckets = rate, self._windows[window]
        return self._last_buckets
