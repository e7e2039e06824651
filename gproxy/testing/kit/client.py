"""The client of the test kit: its requests as a connection receives them, and the responses that it reads."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from greenlet import getcurrent

from gproxy.config.sections.server import ServerSettings
from gproxy.http.body import NO_BODY, Body
from gproxy.http.deadline import Deadline
from gproxy.http.framing import LengthReader, Source
from gproxy.http.headers import Headers, HeadersLike
from gproxy.http.request import Received, Request
from gproxy.http.request_fields_cache import RequestFieldsCache
from gproxy.http.response import Response
from gproxy.http.tls import TLS
from gproxy.http.trust import Trust
from gproxy.http.wire import parse_request_line
from gproxy.testing.kit.clock import VirtualAlarm, VirtualClock

#: The address of a client, from a network for documentation (RFC 5737).
CLIENT: Final = "192.0.2.1"
#: What a request may have as its body; all but bytes is sent as JSON.
Sendable = bytes | Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True)
class KitResponse:
    """The response that the client gets; `is_complete` is False if it was broken off."""

    status: int
    headers: Headers
    body: bytes
    is_complete: bool = True

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:  # noqa: ANN401 any JSON
        """Return the value of a JSON body. Raises ValueError."""
        return json.loads(self.body)


@dataclass(frozen=True)
class ClientRequest:
    """A request as a test writes it."""

    method: str
    target: str
    headers: Headers
    body: bytes
    client: str
    scheme: str
    id: str = ""

    @classmethod
    def of(
        cls,
        method: str,
        target: str,
        headers: HeadersLike,
        body: Sendable,
        client: str,
        scheme: str,
        identity: str = "",
    ) -> "ClientRequest":
        """Return the request with the fields that every client sends. Without `identity` its id is a new one."""
        fields = headers.copy() if isinstance(headers, Headers) else Headers(headers)
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
            fields.setdefault("Content-Type", "application/json")
        if body:
            fields.setdefault("Content-Length", str(len(body)))
        fields.setdefault("Host", "gateway.test")
        return cls(method, target, fields, body, client, scheme, identity)

    @property
    def line(self) -> tuple[str, str, str]:
        """The parts of the request line."""
        return self.method, self.target, "HTTP/1.1"


class RequestParser:
    """The first part of a connection's work: from the head of a request to the request."""

    def __init__(self, trust: Trust, limits: ServerSettings, clock: VirtualClock) -> None:
        self._fields = RequestFieldsCache(trust, max_fields=limits.max_fields, max_body=limits.max_body)
        self._max_body = limits.max_body
        self._clock = clock

    def parse(self, sent: ClientRequest, alarm: VirtualAlarm) -> Request:
        """Return the request. Raises BadMessage for what the wire grammar rejects."""
        line = parse_request_line(" ".join(sent.line).encode())
        fields = self._fields.fields(f"{sent.headers.lines()}\r\n".encode("latin-1"), 1, sent.client)
        tls = TLS("", "", "") if sent.scheme == "https" else None
        received = Received(line.method, line.target, 1, fields.received, sent.client, tls)
        received.time = self._clock.wall()
        headers, host = fields.headers.copy(), line.authority or fields.host
        body, deadline = self._body(sent.body), Deadline(alarm, self._clock)
        request = Request(received, headers, host, line.path, line.query, body, deadline, KitClient(), fields.offered)
        request.client = fields.client
        request.exchange.id = sent.id or fields.request_id
        return request

    def _body(self, data: bytes) -> Body:
        """Return a body that has arrived completely with the head."""
        if not data:
            return NO_BODY
        rest = LengthReader(cast("Source", None), 0)  # never read
        return Body(data, rest, len(data), limit=self._max_body)


def pieces(response: Response, request: Request) -> Iterator[bytes]:
    """Yield the pieces of the body as they come, to a client that reads at once; close the response."""
    body = response.raw_body
    try:
        if request.received.method == "HEAD" or response.status in (204, 304):
            return
        if isinstance(body, bytes):
            yield body
            return
        for piece in body:
            yield bytes(piece)
            if not hasattr(body, "at_hand"):
                request.deadline.resume()  # a handler's own pieces: each may take as long as the first
    finally:
        response.close()


class KitClient:
    """The client of one exchange, which waits for the response and never leaves."""

    is_closed = False

    def __init__(self) -> None:
        self._greenlet = getcurrent()

    def in_own_greenlet(self) -> bool:
        return getcurrent() is self._greenlet

    def can_detect_close(self) -> bool:
        return False

    def is_gone(self) -> bool:
        return False

    def has_left(self) -> bool:
        return False

    def watch(self, waiter: object, /) -> None:
        """Do nothing: there is no end to be seen."""

    def read(self, limit: int, /) -> bytes:  # noqa: ARG002 the whole body has arrived
        return b""

    def interrupt_reads(self, peer: object, /) -> None:
        """Do nothing: no read waits."""

    def send_interim(self, head: object, body: object, /) -> None:
        """Do nothing: a test sees the final response only."""

    def read_ahead(self, limit: int, /) -> None:
        """Do nothing: the client reads at once."""

    def start_tunnel(self) -> None:
        """Do nothing: the kit has no tunnels."""

    def shut_writing(self) -> None:
        """Do nothing: the kit has no tunnels."""
