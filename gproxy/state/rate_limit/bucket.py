"""The admitted requests of one client, by either algorithm: a sliding window, or a token bucket."""

from collections import deque
from collections.abc import Iterable
from math import inf
from typing import Final

from gproxy.config.types import Rate

#: A group of admitted requests: time of the first, time of the last, and their number.
Entry = list[float]

#: The groups in a window; 60 makes a minute's limit exact to the second.
STEPS: Final = 60
#: The share of an interval by which a token may return early: rounding errors must not reject the last one of a burst.
ROUNDING: Final = 0.001


class Verdict:
    """The decision of a limiter about one request.

    wait: seconds until one more request is admitted; 0 for now. reset: seconds until no request counts any more.
    """

    __slots__ = ("admitted", "remaining", "reset", "wait")

    # PERF: no NamedTuple, whose constructor is a Python function
    def __init__(self, admitted: bool, remaining: int, wait: float, reset: float) -> None:
        self.admitted = admitted
        self.remaining = remaining
        self.wait = wait
        self.reset = reset

    def _values(self) -> tuple[bool, int, float, float]:
        return (self.admitted, self.remaining, self.wait, self.reset)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Verdict) and self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Verdict{self._values()}"


class Bucket:
    """The counts of one client; `kept_at` is when its limiter has last renewed them."""

    __slots__ = ("kept_at",)

    def __init__(self, now: float) -> None:
        self.kept_at = now

    @classmethod
    def of(cls, now: float, entries: Iterable[Entry]) -> "Bucket":
        """Return a bucket with the entries of an earlier one."""
        raise NotImplementedError

    def take(self, rate: Rate, now: float, within: float, /) -> Verdict:
        """Admit one more request if the rate allows it, and count it then."""
        raise NotImplementedError

    def look(self, rate: Rate, now: float, /) -> float:
        """Return the seconds until one more request is admitted; 0 for now. Count nothing."""
        raise NotImplementedError

    def counting(self, now: float, window: float, /) -> list[Entry]:
        """Return the entries that still count."""
        raise NotImplementedError


class SlidingWindow(Bucket):
    """The admitted requests of one client: groups, oldest first, and the sum of their counts."""

    __slots__ = ("_began", "_count", "_last", "_older", "_oldest", "_total")

    def __init__(self, now: float, entries: Iterable[Entry] = ()) -> None:
        super().__init__(now)
        self._older = deque(entries)
        self._total = sum(entry[2] for entry in self._older)
        #: The time of the last request in the oldest group.
        self._oldest = self._older[0][1] if self._older else 0.0
        # PERF: the newest group is kept apart, as numbers instead of a list
        self._began, self._last, self._count = self._older.pop() if self._older else (0.0, 0.0, 0.0)

    @classmethod
    def of(cls, now: float, entries: Iterable[Entry]) -> "Bucket":
        return cls(now, entries)

    def take(self, rate: Rate, now: float, _: float, /) -> Verdict:
        window = rate.window
        if self._total and self._oldest + window <= now:
            self._forget(now, window)
        if self._total >= rate.limit:
            return Verdict(False, 0, self._oldest + window - now, self._last + window - now)
        self._add(now, window / STEPS)
        remaining = int(rate.limit - self._total)
        return Verdict(True, remaining, 0.0 if remaining else self._oldest + window - now, window)

    def look(self, rate: Rate, now: float, /) -> float:
        self._forget(now, rate.window)
        return self._oldest + rate.window - now if self._total >= rate.limit else 0.0

    def counting(self, now: float, window: float, /) -> list[Entry]:
        self._forget(now, window)
        newest = [[self._began, self._last, self._count]] if self._count else []
        return [*self._older, *newest]

    def _add(self, now: float, step: float) -> None:
        """Count one request, in a new group if the newest group began a step ago."""
        if not self._count or now - self._began >= step:
            if self._count:
                self._older.append([self._began, self._last, self._count])
            self._began = now
            self._count = 0.0
        self._last = now
        self._count += 1
        self._total += 1
        if not self._older:
            self._oldest = now

    def _forget(self, now: float, window: float) -> None:
        """Remove the groups whose last request is a window old or older."""
        older = self._older
        while older and older[0][1] + window <= now:
            self._total -= older.popleft()[2]
        if not older and self._count and self._last + window <= now:
            self._total -= self._count
            self._count = 0.0
        self._oldest = older[0][1] if older else self._last


class TokenBucket(Bucket):
    """The token bucket of one client: `full_at` is when it is full again if no request takes a token until then."""

    __slots__ = ("_full_at",)

    def __init__(self, now: float, full_at: float) -> None:
        super().__init__(now)
        self._full_at = full_at

    @classmethod
    def of(cls, now: float, entries: Iterable[Entry]) -> "Bucket":
        return cls(now, max((entry[1] for entry in entries), default=0.0))

    def take(self, rate: Rate, now: float, within: float, /) -> Verdict:
        verdict = spend(self._full_at, rate, now, within)
        if verdict.admitted:
            self._full_at = now + verdict.reset
        return verdict

    def look(self, rate: Rate, now: float, /) -> float:
        verdict = spend(self._full_at, rate, now, inf)
        return 0.0 if verdict.admitted else verdict.wait

    def counting(self, now: float, _: float, /) -> list[Entry]:
        return [[now, self._full_at, 0.0]] if self._full_at > now else []


def spend(full_at: float, rate: Rate, now: float, within: float) -> Verdict:
    """Return the verdict of a token bucket on one more request; with `reset` added to `now` it is full again.

    `rate.limit` tokens return in `rate.window`. `within` bounds the seconds until the bucket is full again.
    """
    window = rate.window
    interval = window / rate.limit
    bound = min(within, window)
    missing = min(max(full_at - now, 0.0), window)  # in seconds; more than a window after a reload with another limit
    wait = missing + interval - bound
    if wait > interval * ROUNDING:
        return Verdict(False, 0, wait, missing)
    missing += interval
    remaining = int((bound - missing) / interval + ROUNDING)
    return Verdict(True, remaining, 0.0 if remaining else missing + interval - bound, missing)
