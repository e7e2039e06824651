"""The budget of a connection: tokens for frames that cost work without being a request.

Each single frame of an attack is legal: only their number tells an attack from a client with bad luck.
"""

from collections.abc import Callable
from typing import Final

#: Tokens of a new connection, and the most it can have. A browser that cancels a page with 100 requests, changes 100
#: priorities and updates 100 windows spends less; an attack spends it within a millisecond.
MOST_TOKENS: Final = 400
#: Tokens that come back each second: pings, settings and cancelled requests of an idle or a seldom used connection.
TOKENS_PER_SECOND: Final = 20
#: WINDOW_UPDATEs without a token for each request and each DATA frame sent: clients that return both windows in small
#: steps, and those of gRPC, which open the window of a stream for each message that they wait for.
UPDATES: Final = 10
#: PINGs without a token for each of these: gRPC clients measure the path once per batch of data.
PINGS: Final = 1
#: RST_STREAMs for closed streams without a token for each of these: the package h2, on which clients and servers of
#: Python are built, answers each frame that comes after its own reset by another one.
LATE_RESETS: Final = 1


class Budget:
    """The tokens of one connection, and what it may send without them."""

    __slots__ = ("_clock", "_late_resets", "_occasions", "_pings", "_refilled", "_tokens", "_updates")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tokens = float(MOST_TOKENS)
        #: When time was last turned into tokens; only a spender asks the clock.
        self._refilled = clock()
        #: Requests and DATA frames sent, with one before the first: clients set their windows and ping at the start.
        self._occasions = 1
        self._updates = 0
        self._pings = 0
        self._late_resets = 0

    def spend(self) -> bool:
        """Take a token; return False if none is left."""
        now = self._clock()
        self._tokens = min(float(MOST_TOKENS), self._tokens + (now - self._refilled) * TOKENS_PER_SECOND) - 1.0
        self._refilled = now
        return self._tokens > 0.0

    def earn(self) -> None:
        """Give a token back: a request was answered."""
        self._tokens = min(float(MOST_TOKENS), self._tokens + 1.0)

    def allow(self) -> None:
        """Note a request, or a DATA frame sent: more frames cost no token, without an upper bound.

        The peer pays for them by asking and reading.
        """
        self._occasions += 1

    def window_update(self) -> bool:
        """Note a WINDOW_UPDATE received; return False if the budget is spent."""
        self._updates += 1
        return self._updates <= UPDATES * self._occasions or self.spend()

    def ping(self) -> bool:
        """Note a PING received; return False if the budget is spent."""
        self._pings += 1
        return self._pings <= PINGS * self._occasions or self.spend()

    def late_reset(self) -> bool:
        """Note an RST_STREAM received for a closed stream; return False if the budget is spent."""
        self._late_resets += 1
        return self._late_resets <= LATE_RESETS * self._occasions or self.spend()
