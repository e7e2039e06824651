"""What a client asked."""

import math
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from gproxy.http.body import NO_BODY, Body
from gproxy.http.client_stream import ClientStream
from gproxy.http.headers import Headers, HeadersLike
from gproxy.http.request_id import is_assignable_id
from gproxy.http.rewrite import checked
from gproxy.http.time_limit import TimeLimit
from gproxy.http.tls import TLS

#: PERF: a global, where a member of an enum would be an attribute.
_DEADLINE: Final = TimeLimit.DEADLINE


class Timer(Protocol):
    """What throws into the request's greenlet once its time is up."""

    def set(self, expires: float, limit: TimeLimit) -> None: ...


class Deadline:
    """When the whole exchange must be over, on the monotonic clock. Handlers ask it how much is left: `remaining()`.

    It does not run while the gateway waits for the client: body_timeout and write_timeout bound that.
    """

    __slots__ = ("_timer", "clock", "expires", "paused", "progress")

    def __init__(self, timer: Timer | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.expires = math.inf
        #: For how many seconds it has stood still so far.
        self.paused = 0.0
        #: Called whenever a backend has taken something (False) or given something (True) on the way to its response's
        #: head, for limits of single waits; None if there are none.
        self.progress: Callable[[bool], None] | None = None
        self.clock = clock
        self._timer = timer

    def remaining(self) -> float:
        """Seconds that are left; infinite if there is no limit, never below 0."""
        return max(0.0, self.expires - self.clock())

    def set(self, expires: float) -> None:
        """Move it; infinite lifts it."""
        self.expires = expires
        if self._timer is not None:
            self._timer.set(expires, _DEADLINE)

    def set_for(self, expires: float, limit: TimeLimit) -> None:
        """For one wait expire earlier, under another name; `set` ends it."""
        if self._timer is not None:
            self._timer.set(expires, limit)


class Received:
    """The request as it came from the wire; nothing changes it."""

    __slots__ = ("_fields", "method", "minor", "peer", "scheme", "target", "time", "tls")

    def __init__(
        self,
        method: str,
        target: str,
        minor: int,
        fields: list[tuple[str, str]],
        peer: str,
        tls: TLS | None = None,
    ) -> None:
        self.method = method
        #: The request target, byte for byte, in origin or asterisk form.
        self.target = target
        #: 1 for HTTP/1.1, 0 for HTTP/1.0.
        self.minor = minor
        self._fields = fields
        #: The address that the connection comes from, which may be a proxy's; or that a PROXY header has said.
        self.peer = peer
        #: What was agreed on, and the client's certificate; None on a plain connection.
        self.tls = tls
        self.scheme = "http" if tls is None else "https"
        #: Seconds since the epoch, when the head was complete.
        self.time = time.time()

    @property
    def headers(self) -> Headers:
        """All fields as they came, hop-by-hop ones too."""
        return Headers.parsed(self._fields)

    @property
    def protocol(self) -> str:
        return "HTTP/1.1" if self.minor else "HTTP/1.0"

    @property
    def via(self) -> str:
        """How it came, for Via (RFC 9110 section 7.6.3)."""
        return "1.1 gproxy" if self.minor else "1.0 gproxy"


class Routed(Protocol):
    """What handlers may know of a route."""

    @property
    def name(self) -> str: ...


#: What a copy has besides what a request is made from.
_COPIED: Final = (
    "_as_received", "backend", "client", "client_stream", "context", "id", "method", "reason", "route", "scheme",
    "tries", "upgrade", "user",
)  # fmt: skip


class Request:
    """What will be sent on. Handlers may assign method, host, path, query, headers and body.

    headers: without hop-by-hop and framing fields, which are each connection's own business.
    client: the address after trusted proxies. id: also in every log line, the response and the backend's request.
    upgrade: the protocol the client wants to change to, if it is one that we pass on.
    context: handler to handler.
    """

    __slots__ = (
        "_as_received",
        "_at_end",
        "_context",
        "_id",
        "backend",
        "body",
        "client",
        "client_stream",
        "deadline",
        "headers",
        "host",
        "method",
        "path",
        "query",
        "reason",
        "received",
        "route",
        "scheme",
        "tries",
        "upgrade",
        "upstream",
        "user",
    )

    @classmethod
    def __init_subclass__(cls) -> None:
        """Raises TypeError at once: compiled, an instance could not be made, which would only be noticed then."""
        raise TypeError("Request cannot be subclassed; what belongs to a request goes into its context")

    def __init__(
        self,
        received: Received,
        headers: Headers,
        host: str,
        path: str,
        query: str,
        body: Body = NO_BODY,
        deadline: Deadline | None = None,
    ) -> None:
        self.received = received
        self.method = received.method
        self.scheme = received.scheme
        self.host = host
        self.path = path
        self.query = query
        self._as_received = (path, query, host)
        self._at_end: list[Callable[[], None]] | None = None
        self.headers = headers
        self.body = body
        self.client = received.peer
        self.upgrade: str | None = None
        self._id = ""
        self.route: Routed | None = None
        #: Which upstream is asked; empty before.
        self.upstream = ""
        #: host:port of the backend that was tried last; None before.
        self.backend: str | None = None
        #: The client's connection, for whoever forwards: to notice that it left, and for interim responses.
        self.client_stream: ClientStream | None = None
        #: How many attempts there were.
        self.tries = 0
        #: One word on what went wrong, for the access line.
        self.reason = ""
        #: Who was authenticated, for the access line.
        self.user = ""
        self.deadline = deadline or Deadline()
        self._context: dict[str, Any] | None = None

    def __copy__(self) -> "Request":
        twin = Request(self.received, self.headers, self.host, self.path, self.query, self.body, self.deadline)
        for name in _COPIED:
            setattr(twin, name, getattr(self, name))
        return twin

    @property
    def context(self) -> dict[str, Any]:
        """What handlers tell each other."""
        if self._context is None:
            self._context = {}
        return self._context

    @context.setter
    def context(self, context: dict[str, Any]) -> None:
        self._context = context

    @property
    def id(self) -> str:
        return self._id

    @id.setter  # noqa: A003 it is the property just above
    def id(self, value: str) -> None:
        """Raises ValueError for what would garble the heads that it goes into."""
        if not is_assignable_id(value):
            raise ValueError(f"{value!r} cannot be a request's id: it goes into heads")
        self._id = value

    @property
    def target(self) -> str:
        """What goes into the request line: the received bytes, unless a handler assigned path or query.

        Raises ValueError if those cannot stand there.
        """
        path, query, _ = self._as_received
        if self.path is path and self.query is query:
            return self.received.target
        return checked(f"{self.path}?{self.query}" if self.query else self.path)

    @property
    def is_rewritten(self) -> bool:
        """Did a handler assign what routing looks at?"""
        path, _, host = self._as_received
        return not (self.path is path and self.host is host and self.method is self.received.method)

    def at_end(self, callback: Callable[[], None]) -> None:
        """Call it once everything about this request is over, whatever became of its responses."""
        if self._at_end is None:
            self._at_end = []
        self._at_end.append(callback)

    def end(self) -> None:
        """Run the callbacks; for the connection only."""
        while self._at_end:
            self._at_end.pop()()

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path} id={self.id}>"


def request(
    method: str = "GET", target: str = "/", headers: HeadersLike = (), body: bytes = b"", *, client: str = "192.0.2.1"
) -> Request:
    """A request made by hand, for tests of handlers: no socket, no server."""
    fields = Headers(headers)
    host = fields.setdefault("Host", "gateway.test")
    path, _, query = target.partition("?")
    received = Received(method, target, 1, fields.items(), client)
    made = Request(received, fields, host, path, query, Body(body) if body else NO_BODY)
    made.id = "test"
    return made
