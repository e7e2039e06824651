"""The bad credentials of each client address: counted over all workers, and limited."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Final
from weakref import WeakValueDictionary

from cachetools import TTLCache
from gevent.lock import Semaphore

from gproxy.config.types import Rate
from gproxy.http.errors import HTTPError
from gproxy.http.request import Request
from gproxy.http.trust import network_of
from gproxy.runtime import Runtime
from gproxy.state.rate_limit.limiter import Limiter, MemoryLimiter

#: Bound of the addresses that are counted; the one that was idle longest goes.
ADDRESSES: Final = 10_000


@dataclass(slots=True)
class Turn:
    """A credential that is being judged. `is_bad` is noted before the turn ends."""

    is_bad: bool = False


class _Turns:
    """The turns of an address. That of a bad credential is free again once no other is being judged."""

    def __init__(self, most: int) -> None:
        self.free = Semaphore(most)
        self.running = 0
        self._spent = 0

    def end(self, *, is_bad: bool) -> None:
        """End a turn."""
        self.running -= 1
        self._spent += is_bad
        if not is_bad:
            self.free.release()
        if not self.running:
            for _ in range(self._spent):
                self.free.release()
            self._spent = 0


class Failures:
    """A limit of the bad credentials that a client address (IPv6: its /64) may send; none without a rate."""

    def __init__(self, rate: Rate | None) -> None:
        self._rate = rate
        self._limiter: Limiter = MemoryLimiter(ADDRESSES)
        #: The turns of the addresses whose credentials are being judged.
        self._turns: WeakValueDictionary[str, _Turns] = WeakValueDictionary()
        #: How many more bad credentials an address might send when it sent the last one.
        self._left: TTLCache[str, int] = TTLCache(ADDRESSES, rate.window if rate else 1.0)

    def open(self, runtime: Runtime, name: str) -> None:
        """Count under the name of the handler's section, with all workers."""
        if self._rate is not None:
            self._limiter = runtime.limiter(name, ADDRESSES)

    @contextmanager
    def turn(self, request: Request, seconds: float) -> Iterator[Turn]:
        """Judge the client's credential in the block, which notes whether it is bad; wait at most `seconds` before.

        All of a burst may have come before the first was counted. So no more credentials of an address are judged at
        once in this process than bad ones remain to it. Raises HTTPError 429, also without a turn in time.
        """
        turn = Turn()
        if self._rate is None:
            yield turn
            return
        network = network_of(request.client)
        turns = self._turns.get(network)
        if turns is None:
            turns = self._turns[network] = _Turns(max(1, self._left.get(network, self._rate.limit)))
        if not turns.free.acquire(timeout=seconds):
            raise _throttled("too many credentials at once", 1)
        turns.running += 1
        try:
            self.check(request)
            with self.counted(request, turn):
                yield turn
        finally:
            turns.end(is_bad=turn.is_bad)

    @contextmanager
    def counted(self, request: Request, turn: Turn) -> Iterator[Turn]:
        """Count the client's credential if the block, which may raise, notes in `turn` that it is bad."""
        try:
            yield turn
        finally:
            if turn.is_bad:
                self.count(request)

    def check(self, request: Request) -> None:
        """Raise HTTPError 429 if the client has sent too many bad credentials. Count nothing."""
        rate = self._rate
        if rate is None:
            return
        wait = self._limiter.look(network_of(request.client), rate)
        if wait > 0:
            raise _throttled("too many bad credentials", max(1, ceil(wait)))

    def count(self, request: Request) -> None:
        """Count a bad credential of the client."""
        if self._rate is not None:
            # The bound changes nothing but that no permits are leased in advance, which would count too.
            network = network_of(request.client)
            self._left[network] = self._limiter.take(network, self._rate, self._rate.window).remaining


def _throttled(what: str, seconds: int) -> HTTPError:
    detail = f"{what}; retry in {seconds} s"
    return HTTPError(429, detail, {"Retry-After": str(seconds)}, reason="auth_throttled")
