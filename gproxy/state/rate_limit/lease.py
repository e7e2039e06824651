"""Permits fetched several at a time and spent locally, so that a busy client causes few round trips.

A lease is valid for a sixtieth of the window, and its permits count until a window after that: no window has more than
the limit, whenever the permits are spent. Unspent permits are lost until then. So a client gets as many permits as it
would spend in that time at its present pace, and one if it is slow: at most `most` - 1 are lost in each process
whenever the client slows down. A client that the store rejects is rejected locally until one more request can be
admitted.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Protocol

from cachetools import TTLCache

from gproxy.config.types import Rate
from gproxy.state.rate_limit.limiter import STEPS, Verdict


class Grants(Protocol):
    """The source of leases; with one permit, or none, only the verdict matters."""

    def grant(self, key: str, rate: Rate, wanted: int, /) -> tuple[int, Verdict]: ...
    def take(self, key: str, rate: Rate, within: float = inf, /) -> Verdict: ...
    def look(self, key: str, rate: Rate, /) -> float: ...


@dataclass(slots=True)
class _Lease:
    """The permits of a client: `left` of `size`, fetched at `began`; `verdict` is that on the first."""

    began: float
    size: int = 1
    left: int = 0
    verdict: Verdict | None = None
    is_fetching: bool = True

    def pace(self, now: float) -> float:
        """Return the client's requests per second since the lease began."""
        return (self.size - self.left) / max(now - self.began, 1e-6)

    def local(self, now: float, window: float) -> Verdict | None:
        """Return a verdict without a request to the store; None if there is none."""
        verdict, passed = self.verdict, now - self.began
        wait = self.wait(now, window)
        if verdict is None or wait is None:
            return None
        if wait:
            return Verdict(False, 0, wait, verdict.reset - passed)
        self.left -= 1
        remaining = verdict.remaining - (self.size - self.left - 1)
        return Verdict(True, remaining, 0.0 if remaining else verdict.reset - passed, verdict.reset - passed)

    def wait(self, now: float, window: float) -> float | None:
        """Return the seconds until one more request is admitted, 0 for now, without a request to the store.

        None if only the store knows.
        """
        verdict, passed = self.verdict, now - self.began
        if verdict is None:
            return None
        if not verdict.admitted:
            return verdict.wait - passed if verdict.wait > passed else None
        return 0.0 if self.left and passed < window / STEPS else None


class LeasingLimiter:
    """A limiter that spends leased permits; it has leases of at most `max_keys` clients for each rate."""

    def __init__(self, source: Grants, most: int, max_keys: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._most = most
        self._max_keys = max_keys
        self._clock = clock
        self._leases: dict[Rate, TTLCache[str, _Lease]] = {}

    def take(self, key: str, rate: Rate, within: float = inf, /) -> Verdict:
        """Admit one more request of `key` if the rate allows it, and count it then.

        `within` is for requests that wait in turn: only the store knows whose turn it is, so nothing is leased.
        """
        if within != inf:
            return self._source.take(key, rate, within)
        now = self._clock()
        leases = self._of(rate)
        lease = leases.get(key)
        if lease is not None and (verdict := lease.local(now, rate.window)):
            return verdict
        if lease is not None and lease.is_fetching:  # concurrent requests of the client: one lease at a time
            return self._source.grant(key, rate, 1)[1]
        wanted = 1 if lease is None else max(1, min(self._most, int(lease.pace(now) * rate.window / STEPS)))
        return self._fetch(_Lease(now), key, rate, wanted)

    def look(self, key: str, rate: Rate, /) -> float:
        """Return the seconds until one more request of `key` is admitted; 0 for now. Count nothing."""
        lease = self._of(rate).get(key)
        wait = None if lease is None else lease.wait(self._clock(), rate.window)
        return self._source.look(key, rate) if wait is None else wait

    def _fetch(self, lease: _Lease, key: str, rate: Rate, wanted: int) -> Verdict:
        """Fetch permits. The lease begins before the request to the store, so it ends here before it ends there."""
        self._of(rate)[key] = lease
        try:
            granted, verdict = self._source.grant(key, rate, wanted)
            lease.size, lease.left, lease.verdict = max(granted, 1), max(granted - 1, 0), verdict
        finally:
            lease.is_fetching = False
        return verdict

    def _of(self, rate: Rate) -> TTLCache[str, _Lease]:
        if rate not in self._leases:
            self._leases[rate] = TTLCache(self._max_keys, 2 * rate.window, self._clock)
        return self._leases[rate]
