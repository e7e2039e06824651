"""`ask`, which the functions of a self-test get: a client within the worker, whose requests take the whole chain."""

import time
from collections.abc import Callable
from typing import Final, cast

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
from gproxy.runtime.alarm import Alarm, TimerWheel
from gproxy.runtime.served import serving

#: The address of the client.
CLIENT: Final = "127.0.0.1"
_HOST: Final = "localhost"
#: The longest body of a response that a function gets, in bytes.
_LONGEST: Final = 16 * 1024 * 1024


class Ask:
    """A client of the gateway: `ask("GET", "/users/1", {"Authorization": "…"}) -> Response`, with its whole body.

    Its address is 127.0.0.1 and its host `localhost`, unless the target is a URL or the headers have another one.
    """

    def __init__(self, gateway: Callable[[Request], Response], trust: Trust, limits: ServerSettings) -> None:
        self._gateway = gateway
        self._fields = RequestFieldsCache(trust, max_fields=limits.max_fields, max_body=limits.max_body)
        self._max_body = limits.max_body
        self._wheel = TimerWheel()

    def __call__(self, method: str, target: str, headers: HeadersLike = (), body: bytes = b"") -> Response:
        """Send a request, and return the response with its whole body; of an event stream without one.

        Raises ValueError for what no client can send, for a response of more than 16 MiB, and what reading the body
        raises.
        """
        response, _ = self.exchange(method, target, headers, body)
        return response

    def exchange(
        self, method: str, target: str, headers: HeadersLike = (), body: bytes = b"", *, is_kept: bool = True
    ) -> tuple[Response, str]:
        """Return the response with its reason; `is_kept` says whether its body is kept, or only read."""
        alarm = Alarm(self._wheel)
        try:
            request = self._request(method, target, Headers(headers), body, Deadline(alarm))
            try:
                with serving(request):
                    response = self._gateway(request)
                    _read(response, request, _LONGEST if is_kept else None)
            finally:
                request.end()
            return response, request.reason
        finally:
            alarm.close()

    def _request(self, method: str, target: str, headers: Headers, body: bytes, deadline: Deadline) -> Request:
        """Return the request as a connection would receive it. Raises BadMessage for what the grammar rejects."""
        line = parse_request_line(f"{method} {target} HTTP/1.1".encode())
        if body:
            headers.setdefault("Content-Length", str(len(body)))
        if line.authority:  # counts instead of the Host field: RFC 9112 section 3.2.2
            headers["Host"] = line.authority
        headers.setdefault("Host", _HOST)
        fields = self._fields.fields(f"{headers.lines()}\r\n".encode("latin-1"), 1, CLIENT, keep=False)
        tls = TLS("", "", "") if target.lower().startswith("https:") else None
        received = Received(line.method, line.target, 1, fields.received, CLIENT, tls)
        received.time = time.time()
        sent = self._body(body) if body else NO_BODY
        request = Request(received, fields.headers.copy(), fields.host, line.path, line.query, sent, deadline)
        request.exchange.client = fields.client
        request.exchange.id = fields.request_id
        return request

    def _body(self, data: bytes) -> Body:
        """Return a body that has arrived completely with the head."""
        return Body(data, LengthReader(cast("Source", None), 0), len(data), limit=self._max_body)


def _read(response: Response, request: Request, longest: int | None) -> None:
    """Read the body as a client does, keep it unless `longest` is None, and close the response."""
    kept: list[bytes] = []
    size = 0
    try:
        has_body = request.received.method != "HEAD" and response.status not in (204, 304)
        for piece in response.pieces if has_body and not request.exchange.is_endless else ():
            if not hasattr(response.raw_body, "at_hand"):
                request.deadline.resume()  # a handler's own pieces: each may take as long as the first
            size += len(piece)
            if longest is not None:
                kept.append(bytes(piece))
            if longest is not None and size > longest:
                raise ValueError(f"the response to {request.received.target} is longer than {longest} bytes")
    finally:
        response.close()
    response.observe_body(b"".join(kept))
