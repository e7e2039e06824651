"""The bad credentials of each client address: counted over all workers, and limited."""

from math import ceil
from typing import Final

from gproxy.config.types import Rate
from gproxy.http.errors import HTTPError
from gproxy.http.request import Request
from gproxy.http.trust import network_of
from gproxy.runtime import Runtime
from gproxy.state.rate_limit.limiter import Limiter, MemoryLimiter

#: Bound of the addresses that are counted; the one that was idle longest goes.
ADDRESSES: Final = 10_000


class Failures:
    """A limit of the bad credentials that a client address (IPv6: its /64) may send; none without a rate."""

    def __init__(self, rate: Rate | None) -> None:
        self._rate = rate
        self._limiter: Limiter = MemoryLimiter(ADDRESSES)

    def open(self, runtime: Runtime, name: str) -> None:
        """Count under the name of the handler's section, with all workers."""
        if self._rate is not None:
            self._limiter = runtime.limiter(name, ADDRESSES)

    def check(self, request: Request) -> None:
        """Raise HTTPError 429 if the client has sent too many bad credentials. Count nothing."""
        rate = self._rate
        if rate is None:
            return
        wait = self._limiter.look(network_of(request.client), rate)
        if wait > 0:
            seconds = max(1, ceil(wait))
            detail = f"too many bad credentials; retry in {seconds} s"
            raise HTTPError(429, detail, {"Retry-After": str(seconds)}, reason="auth_throttled")

    def count(self, request: Request) -> None:
        """Count a bad credential of the client."""
        if self._rate is not None:
            # The bound changes nothing but that no permits are leased in advance, which would count too.
            self._limiter.take(network_of(request.client), self._rate, self._rate.window)
