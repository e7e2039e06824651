"""What a client asked."""

import math
import time
from collections.abc import Callable
from typing import Any, Protocol

from gproxy.http.body import NO_BODY, Body
from gproxy.http.headers import Headers, HeadersLike


class Deadline:
    """When the whole exchange must be over, on the monotonic clock."""

    __slots__ = ("clock", "expires")

    def __init__(self, expires: float = math.inf, clock: Callable[[], float] = time.monotonic) -> None:
        self.expires = expires
        self.clock = clock

    def remaining(self) -> float:
        """Seconds that are left; infinite if there is no limit, never below 0."""
        return max(0.0, self.expires - self.clock())


class Received:
    """The request as it came from the wire; nothing changes it."""

    __slots__ = ("_fields", "framing", "method", "minor", "peer", "scheme", "target", "time")

    def __init__(
        self,
        method: str,
        target: str,
        minor: int,
        fields: list[tuple[str, str]],
        peer: str,
        scheme: str = "http",
        framing: int = 0,
    ) -> None:
        self.method = method
        #: The request target, byte for byte, in origin or asterisk form.
        self.target = target
        #: 1 for HTTP/1.1, 0 for HTTP/1.0.
        self.minor = minor
        self._fields = fields
        #: The address that the connection comes from, which may be a proxy's.
        self.peer = peer
        self.scheme = scheme
        self.framing = framing
        #: Seconds since the epoch, when the head was complete.
        self.time = time.time()

    @property
    def headers(self) -> Headers:
        """All fields as they came, hop-by-hop ones too."""
        return Headers.parsed(self._fields)

    @property
    def protocol(self) -> str:
        return "HTTP/1.1" if self.minor else "HTTP/1.0"


class Routed(Protocol):
    """What handlers may know of a route."""

    @property
    def name(self) -> str: ...


class Request:
    """What will be sent on. Handlers may assign method, host, path, query, headers and body.

    headers: without hop-by-hop and framing fields, which are each connection's own business.
    client: the address after trusted proxies. id: also in every log line, the response and the backend's request.
    upgrade: the protocol the client wants to change to, if it is one that we pass on.
    context: handler to handler.
    """

    __slots__ = (
        "_as_received",
        "backend",
        "body",
        "client",
        "context",
        "deadline",
        "expects_continue",
        "headers",
        "host",
        "id",
        "method",
        "path",
        "query",
        "reason",
        "received",
        "route",
        "scheme",
        "tries",
        "upgrade",
        "user",
    )

    def __init__(
        self, received: Received, headers: Headers, host: str, path: str, query: str, body: Body = NO_BODY
    ) -> None:
        self.received = received
        self.method = received.method
        self.scheme = received.scheme
        self.host = host
        self.path = path
        self.query = query
        self._as_received = (path, query)
        self.headers = headers
        self.body = body
        self.client = received.peer
        self.upgrade: str | None = None
        self.expects_continue = False
        self.id = ""
        self.route: Routed | None = None
        #: host:port of the backend that was tried last; None before.
        self.backend: str | None = None
        #: How many attempts there were.
        self.tries = 0
        #: One word on what went wrong, for the access line.
        self.reason = ""
        #: Who was authenticated, for the access line.
        self.user = ""
        self.deadline = Deadline()
        self.context: dict[str, Any] = {}

    @property
    def target(self) -> str:
        """What goes into the request line: the received bytes, unless a handler assigned path or query."""
        path, query = self._as_received
        if self.path is path and self.query is query:
            return self.received.target
        return f"{self.path}?{self.query}" if self.query else self.path

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path} id={self.id}>"


def request(
    method: str = "GET", target: str = "/", headers: HeadersLike = (), body: bytes = b"", *, client: str = "192.0.2.1"
) -> Request:
    """A request made by hand, for tests of handlers: no socket, no server."""
    fields = Headers(headers)
    host = fields.pop("Host") or "gateway.test"
    path, _, query = target.partition("?")
    received = Received(method, target, 1, [("Host", host), *fields.items()], client, "http", len(body))
    made = Request(received, fields, host, path, query, Body(body) if body else NO_BODY)
    made.id = "test"
    return made
