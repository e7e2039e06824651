"""Counts what each client did within a sliding window: exact, and bounded in memory.

A bucket remembers admitted requests in groups: all that came within a sixtieth of the window are one entry, dated
by the last of them. An entry counts until a whole window has passed since that date, so no window of any position
ever holds more than the limit, and a request is forgotten at most a sixtieth of the window late. A bucket has at
most 61 entries, however high the limit. Refused requests are not counted: who waits as told is let in.
"""

import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from gproxy.config.types import Rate
from gproxy.state.rate_limit.bucket import Bucket, Entry
from gproxy.state.rate_limit.client_buckets import ClientBuckets, Origin

#: Groups in a window; 60 makes a minute's limit exact to the second.
STEPS: Final = 60


class Verdict:
    """What the limiter says to one request.

    wait: seconds until one more is admitted; 0 if one would be right now. reset: seconds until nothing counts any more.
    """

    __slots__ = ("admitted", "remaining", "reset", "wait")

    # PERF: no NamedTuple, whose constructor is a Python function
    def __init__(self, admitted: bool, remaining: int, wait: float, reset: float) -> None:
        self.admitted = admitted
        self.remaining = remaining
        self.wait = wait
        self.reset = reset

    def _facts(self) -> tuple[bool, int, float, float]:
        return (self.admitted, self.remaining, self.wait, self.reset)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Verdict) and self._facts() == other._facts()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Verdict{self._facts()}"


class Limiter(Protocol):
    """Whatever counts: this process, several over shared memory, or several machines."""

    def take(self, key: str, rate: Rate, /) -> Verdict:
        """Raises StoreUnavailableError if nobody can say."""


class MemoryLimiter:
    """The limiter of a single process.

    It keeps at most `max_keys` clients for each window; past that the one that was longest away is forgotten early.
    Rates of the same window see the same counts: a limit that is changed goes on with what was admitted before.
    `clock` gives seconds that never jump. `origin` makes, for a window, what knows about clients unknown here.
    """

    def __init__(
        self,
        max_keys: int,
        clock: Callable[[], float] = time.monotonic,
        origin: Callable[[float], Origin | None] = lambda _: None,
    ) -> None:
        self._max_keys = max_keys
        self._clock = clock
        self._origin = origin
        self._windows: dict[float, ClientBuckets] = {}
        self._last_rate: Rate | None = None
        self._last_buckets: ClientBuckets

    @property
    def evicted(self) -> int:
        """How many clients were forgotten early because there were more than `max_keys`."""
        return sum(buckets.evicted for buckets in self._windows.values())

    def take(self, key: str, rate: Rate, /) -> Verdict:
        """Admit one more request of `key` if the rate allows it, and count it then."""
        now = self._clock()
        window = rate.window
        bucket = self._bucket(key, rate, now)
        if bucket.total and bucket.oldest + window <= now:
            bucket.forget(now, window)
        if bucket.total >= rate.limit:
            return Verdict(False, 0, bucket.oldest + window - now, bucket.newest + window - now)
        bucket.add(now, window / STEPS)
        remaining = int(rate.limit - bucket.total)
        return Verdict(True, remaining, 0.0 if remaining else bucket.oldest + window - now, window)

    def clients(self) -> list[tuple[float, str]]:
        """The windows and keys of all that are counted."""
        return [(window, key) for window, buckets in self._windows.items() for key in buckets]

    def remove(self, window: float, key: str) -> Iterable[Entry]:
        """What the client has had admitted; from now on nobody may `take` here."""
        bucket = self._windows[window].pop(key, None) if window in self._windows else None
        if bucket is None:
            return ()
        bucket.forget(self._clock(), window)
        return bucket.entries

    def _bucket(self, key: str, rate: Rate, now: float) -> Bucket:
        """The key's bucket, re-inserted once a window, so that what counts never expires (kept for two windows)."""
        # PERF: a handler asks with the same rate each time, and hashing a window costs more than this.
        buckets = self._last_buckets if rate is self._last_rate else self._of(rate)
        bucket = buckets.recent.get(key)
        if bucket is None or now - bucket.kept_at > rate.window:
            bucket = buckets.bucket(key, now, rate.window)
        return bucket

    def _of(self, rate: Rate) -> ClientBuckets:
        window = rate.window
        if window not in self._windows:
            self._windows[window] = ClientBuckets(self._max_keys, window, self._clock, self._origin(window))
        self._last_rate, self._last_buckets = rate, self._windows[window]
        return self._last_buckets
