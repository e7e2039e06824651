"""An exchange: one request with its response, as the access log, the metrics and other observers record it."""

import time
from collections.abc import Callable
from typing import Final, Protocol

from gproxy.http.trace import NO_IDS, NO_TRACE

#: The `backend` of an exchange that a WSGI app answers.
APP: Final = "app"
#: The `noted` of an exchange without notes.
NOTHING_NOTED: Final[list[str]] = []


class Account(Protocol):
    """The time account of a watched request."""

    @property
    def handler_times(self) -> str:
        """The handlers with the time that each took itself: `jwt=0.1ms,limit=0.0ms`."""

    def detached(self) -> "Account":
        """Return the account of a copy of the request in another greenlet."""

    def lent(self, at_end: Callable[[Callable[[], None]], None], /) -> "Account | None":
        """Return the account of a look-up that outlives the request; None if it notes nothing.

        `at_end` registers what ends the loan.
        """


class Exchange:
    """The record of one request and its response; an empty text means that there is none.

    The parts of the gateway fill it in as the request passes. `Request.conclude` completes it.
    """

    __slots__ = (
        "account", "apptime", "auth", "backend", "bytes_received", "bytes_sent", "client", "duration", "host", "id",
        "is_endless", "is_tunnel", "method", "noted", "paused", "protocol", "reason", "referer", "report", "route",
        "started", "status", "target", "trace", "trace_ids", "tries", "upstream", "user", "user_agent",
    )  # fmt: skip

    def __init__(self, started: float, client: str, method: str, target: str, protocol: str) -> None:
        #: When the head of the request was complete, in seconds since the epoch; `duration` begins earlier.
        self.started = started
        self.id = ""
        #: The client's address, after trusted proxies.
        self.client = client
        self.method = method
        #: The request target without its query, which may hold secrets.
        self.target = target
        self.protocol = protocol
        self.host = ""
        #: The name of the matched route.
        self.route = ""
        #: The name of the selected upstream.
        self.upstream = ""
        #: host:port of the last backend tried; APP for a WSGI app.
        self.backend = ""
        #: The number of attempts at backends.
        self.tries = 0
        #: Seconds until the head of the last attempt's response, if attempts are timed; negative if there was none.
        self.apptime = -1.0
        #: The cause of a failure in one word.
        self.reason = ""
        #: What handlers that only report would have done, by comma: `rate_limit=429,jwt=401`.
        self.report = ""
        #: The authenticated user.
        self.user = ""
        #: The name of the handler that identified the user.
        self.auth = ""
        #: The Referer field without its query.
        self.referer = ""
        self.user_agent = ""
        self.status = 0
        #: Seconds from the first byte received, which is before `started`, to the last byte sent.
        self.duration = 0.0
        #: Seconds in which the gateway waited for the client.
        self.paused = 0.0
        #: The time account of a watched request; else None.
        self.account: Account | None = None
        #: The trace of the request, and its ids, which an unsampled request has too if traces are on.
        self.trace = NO_TRACE
        self.trace_ids = NO_IDS
        #: Bytes of the request body received.
        self.bytes_received = 0
        #: Bytes of the response body sent.
        self.bytes_sent = 0
        #: True if the response has no natural end: a tunnel or an event stream.
        self.is_endless = False
        #: True once the connection carries bytes both ways after a 101.
        self.is_tunnel = False
        #: What `[log] fields` adds of the request and the response, in the order of the fields; else empty.
        self.noted = NOTHING_NOTED

    @classmethod
    def rejected(cls, peer: str, line: tuple[str, str, str]) -> "Exchange":
        """Return the exchange of a connection or of bytes that are rejected before a request exists.

        `line` has the readable parts of the request line.
        """
        return cls(time.time(), peer, *line)

    def adopt(self, other: "Exchange") -> None:
        """Take over what the attempts of a detached copy of the request have recorded."""
        self.upstream = other.upstream
        self.backend = other.backend
        self.tries = other.tries
        self.apptime = other.apptime
        self.reason = other.reason

    def __repr__(self) -> str:
        return f"<Exchange {self.method} {self.target} id={self.id} status={self.status}>"


class Observer(Protocol):
    """A part that records each exchange, after its last byte was sent or sending has failed."""

    def record(self, exchange: Exchange, /) -> None: ...


def without_query(url: str) -> str:
    """Return the URL without its query: queries carry secrets, which never reach a log."""
    return url.partition("?")[0] if "?" in url else url
