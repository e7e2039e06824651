"""The request of a client, as handlers see and change it."""

import re
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from gproxy.http.body import NO_BODY, Body
from gproxy.http.client_stream import ClientStream
from gproxy.http.deadline import Deadline
from gproxy.http.errors import HTTPError
from gproxy.http.exchange import APP, Exchange, without_query
from gproxy.http.header_names import is_field_value
from gproxy.http.headers import Headers, HeadersLike, Line
from gproxy.http.identity import Identity
from gproxy.http.json_body import LIMIT, of_request
from gproxy.http.phase import HANDLER
from gproxy.http.rewrite import checked, prefixed
from gproxy.http.tls import TLS
from gproxy.http.trace import Trace

#: The protocol of requests over HTTP/2.
HTTP2: Final = "HTTP/2.0"


class Received:
    """The request as it arrived on the wire; immutable.

    protocol, via: the version of HTTP from 1.1 on; HTTP/1.0 has the `minor` 0.
    """

    __slots__ = ("_headers", "method", "minor", "peer", "protocol", "scheme", "target", "time", "tls", "via")

    def __init__(
        self,
        method: str,
        target: str,
        minor: int,
        headers: Headers,
        peer: str,
        tls: TLS | None = None,
        protocol: str = "HTTP/1.1",
        via: str = "1.1",
    ) -> None:
        self.method = method
        #: The request target, byte for byte, in origin or asterisk form.
        self.target = target
        #: 0 for HTTP/1.0, 1 for HTTP/1.1 and later.
        self.minor = minor
        #: The version as the request line has it, and as Via has it (RFC 9110 section 7.6.3).
        if minor:
            self.protocol, self.via = protocol, via
        else:
            self.protocol, self.via = "HTTP/1.0", "1.0"
        self._headers = headers
        #: The peer's address: of a client, of a proxy, or from a PROXY header.
        self.peer = peer
        #: The result of the TLS handshake, with the client's certificate; None for a plain connection.
        self.tls = tls
        self.scheme = "http" if tls is None else "https"
        #: When the head was complete, in seconds since the epoch.
        self.time = time.time()

    @property
    def headers(self) -> Headers:
        """All fields as received, hop-by-hop fields included."""
        return self._headers.copy()

    @property
    def never_indexed(self) -> list[str]:
        """Names, in lower case, that the client has sent as never indexed; see `Headers.never_indexed`."""
        return self._headers.never_indexed

    def field(self, key: str) -> str:
        """Return the value of a field by its name in lower case, the lines of a repeated name joined; "" without it."""
        return ", ".join(self._headers.all(key))


class Routed(Protocol):
    """The part of a route that handlers may use."""

    @property
    def name(self) -> str: ...

    @property
    def patterns(self) -> tuple[re.Pattern[str], ...]: ...


#: Attributes that a copy takes over, besides the arguments of the constructor.
_COPIED: Final = (
    "_as_received", "backend", "client", "client_stream", "context", "id", "identity", "is_subrequest", "method",
    "offered", "reason", "route", "scheme", "trace", "tries", "upgrade", "user",
)  # fmt: skip


class Request:
    """The request to forward. Handlers may assign method, host, path, query, headers and body.

    headers: without hop-by-hop and framing fields, which belong to a single connection.
    client: the address after trusted proxies. id: also in every log line, the response and the backend's request.
    offered: the protocols that the client offers to switch to, as it writes them. upgrade: the first of them that the
    route tunnels; None before a route has matched.
    identity: who the client is, once an identity handler has judged its credential; else None.
    exchange: what is recorded of the request; tries, backend, upstream, reason, user, client and id are kept there.
    context: values that handlers share with each other.
    """

    __slots__ = (
        "_as_received",
        "_at_end",
        "_context",
        "body",
        "client_stream",
        "deadline",
        "exchange",
        "headers",
        "host",
        "identity",
        "is_subrequest",
        "method",
        "offered",
        "path",
        "phase",
        "query",
        "received",
        "route",
        "scheme",
        "upgrade",
    )

    @classmethod
    def __init_subclass__(cls) -> None:
        """Raise TypeError at once: in a compiled build, only the first instance of a subclass would fail."""
        raise TypeError("Request cannot be subclassed; keep values of a request in its context")

    def __init__(
        self,
        received: Received,
        headers: Headers,
        host: str,
        path: str,
        query: str,
        body: Body = NO_BODY,
        deadline: Deadline | None = None,
        client_stream: ClientStream | None = None,
        offered: tuple[str, ...] = (),
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
        self.offered = offered
        self.upgrade: str | None = None
        self.route: Routed | None = None
        #: What the client has proved; None before an identity handler, and without a credential.
        self.identity: Identity | None = None
        #: True for a request that a handler makes itself: its client gets no interim response of it.
        self.is_subrequest = False
        #: The client's side of the exchange: the forwarder uses it to detect a disconnect and to send interim
        #: responses.
        self.client_stream = client_stream
        self.exchange = Exchange(
            received.time, received.peer, received.method, without_query(received.target), received.protocol
        )
        self.deadline = deadline or Deadline()
        #: What the request waits for: a number of `http/phase.py`.
        self.phase = HANDLER
        self._context: dict[str, Any] | None = None

    def __copy__(self) -> "Request":
        twin = Request(self.received, self.headers, self.host, self.path, self.query, self.body, self.deadline)
        for name in _COPIED:
            setattr(twin, name, getattr(self, name))
        twin.exchange.report = self.exchange.report
        account = self.exchange.account
        twin.exchange.account = None if account is None else account.detached()
        return twin

    def leave_client(self) -> None:
        """Make the request, a copy, independent of the client: it notices no disconnect, and never becomes a tunnel."""
        self.client_stream, self.offered, self.upgrade = None, (), None

    @property
    def context(self) -> dict[str, Any]:
        """Values that handlers share with each other."""
        if self._context is None:
            self._context = {}
        return self._context

    @context.setter
    def context(self, context: dict[str, Any]) -> None:
        self._context = context

    @property
    def has_context(self) -> bool:
        """True if handlers have shared values."""
        return self._context is not None

    @property
    def id(self) -> str:
        return self.exchange.id

    @id.setter  # noqa: A003 it is the property just above
    def id(self, value: str) -> None:
        """Set the id. Raises ValueError for what would garble the heads that it goes into."""
        if not is_field_value(value):  # ids appear in heads
            raise ValueError(f"{value!r} is no request id: only characters of a header value are expected")
        self.exchange.id = value

    @property
    def client(self) -> str:
        """The client's address, after trusted proxies."""
        return self.exchange.client

    @client.setter
    def client(self, address: str) -> None:
        """Set the address. Raises ValueError for what would garble the heads that it goes into."""
        if not is_field_value(address):
            raise ValueError(f"{address!r} is no address: only characters of a header value are expected")
        self.exchange.client = address

    @property
    def upstream(self) -> str:
        """The name of the selected upstream; empty before."""
        return self.exchange.upstream

    @upstream.setter
    def upstream(self, name: str) -> None:
        self.exchange.upstream = name

    @property
    def backend(self) -> str | None:
        """host:port of the last backend tried; None before, and for an app."""
        backend = self.exchange.backend
        return backend if backend and backend != APP else None

    @backend.setter
    def backend(self, name: str | None) -> None:
        self.exchange.backend = name or ""

    @property
    def tries(self) -> int:
        """The number of attempts."""
        return self.exchange.tries

    @tries.setter
    def tries(self, count: int) -> None:
        self.exchange.tries = count

    @property
    def reason(self) -> str:
        """The reason of a failure in one word, for the access log."""
        return self.exchange.reason

    @reason.setter
    def reason(self, reason: str) -> None:
        self.exchange.reason = reason

    @property
    def user(self) -> str:
        """The authenticated user, for the access log."""
        return self.exchange.user

    @user.setter
    def user(self, user: str) -> None:
        self.exchange.user = user

    @property
    def trace(self) -> Trace:
        """The trace of the request; one that does nothing unless the request is sampled."""
        return self.exchange.trace

    @trace.setter
    def trace(self, trace: Trace) -> None:
        self.exchange.trace = trace

    @property
    def target(self) -> str:
        """The target for the request line: the received bytes, unless a handler assigned path or query.

        Raises ValueError if path or query cannot stand in a request line.
        """
        path, query, _ = self._as_received
        if self.path is path and self.query is query:
            return self.received.target
        return checked(f"{self.path}?{self.query}" if self.query else self.path)

    @property
    def is_rewritten(self) -> bool:
        """Return whether a handler assigned method, host or path, on which routing depends."""
        path, _, host = self._as_received
        return not (self.path is path and self.host is host and self.method is self.received.method)

    def add_prefix(self, prefix: str) -> None:
        """Put a prefix, such as `/alpha`, before the path.

        Raises HTTPError 400 if some backend would read the new path as one without the prefix, as it would /../beta.
        Raises ValueError for a prefix with dot segments, escapes, or a slash at its end.
        """
        self.path = prefixed(self.path, prefix)

    def json(self, limit: int = LIMIT) -> Any:  # noqa: ANN401 any JSON
        """Return the value of a body in JSON, of up to `limit` bytes; later steps can still read the body.

        Raises HTTPError: 400 for what is no JSON, 413 for a longer body.
        """
        data = self.body.buffer(limit)
        if len(data) > limit:  # an earlier handler has kept it under a larger limit
            raise HTTPError(413, f"request body exceeds the limit of {limit} bytes")
        return of_request(data)

    def at_end(self, callback: Callable[[], None]) -> None:
        """Register a callback for the end of the request, whatever happens to its responses."""
        if self._at_end is None:
            self._at_end = []
        self._at_end.append(callback)

    def end(self) -> None:
        """Run the callbacks. The owner of the request calls this: its connection, or the code that made a copy."""
        while self._at_end:
            self._at_end.pop()()

    def conclude(self, status: int, duration: float, sent: int) -> Exchange:
        """Complete the exchange with the response's figures, and with what handlers have left in the request.

        `duration` is in seconds, `sent` the bytes of the response body.
        """
        exchange, headers, route = self.exchange, self.headers, self.route
        exchange.status, exchange.duration, exchange.bytes_sent = status, duration, sent
        exchange.bytes_received = self.body.received
        exchange.paused = self.deadline.paused
        exchange.host = self.host
        exchange.route = route.name if route is not None else ""
        exchange.referer = without_query(headers.lookup("referer") or "")
        exchange.user_agent = headers.lookup("user-agent") or ""
        return exchange

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path} id={self.id}>"


class HeadWriter(Protocol):
    """A writer of the heads that backends get. `authority` is the Host of a request without one.

    Each of the methods raises HTTPError for a request that has passed this gateway before.
    """

    def __call__(self, request: Request, authority: str, /) -> bytes:
        """Return the head of HTTP/1.1 for one attempt."""

    def lines(self, request: Request, authority: str, /) -> list[Line]:
        """Return the lines of the head's fields, in order."""

    def target(self, request: Request, /) -> str:
        """Return the target of the request line."""


def request(
    method: str = "GET", target: str = "/", headers: HeadersLike = (), body: bytes = b"", *, client: str = "192.0.2.1"
) -> Request:
    """Return a request for a handler's unit test, without socket and server."""
    fields = Headers(headers)
    host = fields.setdefault("Host", "gateway.test")
    path, _, query = target.partition("?")
    received = Received(method, target, 1, fields.copy(), client)
    made = Request(received, fields, host, path, query, Body(body) if body else NO_BODY)
    made.id = "test"
    return made
