"""The response over HTTP/2 (RFC 9113 section 8): the head, the pieces of the body in frames, trailers."""

import math
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

from gproxy.gateway.grpc.adapter import GRPCCall
from gproxy.http.body import Body
from gproxy.http.errors import ClientGone, HTTPError
from gproxy.http.h2.fields import strip_response
from gproxy.http.h2.frames import CANCEL, INTERNAL_ERROR, NO_ERROR
from gproxy.http.h2.stream import CLOSED
from gproxy.http.headers import Headers
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.http.websocket import accept_of
from gproxy.runtime.expired import Expired
from gproxy.server.client_channel import DisconnectWatch
from gproxy.server.dispatch import Output, add_hsts
from gproxy.server.http2.client_stream import HTTP2ClientStream
from gproxy.server.response_writer import BrokenResponseError, as_bytes, check_length, date_line, declared_length
from gproxy.upstream.forwarder.response_body import BackendBody

#: Bytes of a body that leaves with its head even if the kernel is full.
_SMALL: Final = 16 * 1024
#: Seconds between a response and the reset of the upload that it does not need. Some clients, such as curl 7.88, lose
#: the response if they read both at once; most end or reset the upload themselves.
_LINGER: Final = 0.1
#: Reasons for which a response ends that is no fault of what makes it.
_CANCELLED: Final = frozenset(
    {"client_timeout", "client_slow", "draining", "cut", "tunnel_idle", "auth_expired", "grpc_timeout"}
)


class HTTP2ResponseWriter(Output):
    """The writer of the responses that one greenlet sends, on one stream after the other."""

    __slots__ = ("_hsts", "_is_connect", "_length", "_stream", "call")

    def __init__(self) -> None:
        super().__init__()
        self._stream: HTTP2ClientStream | None = None
        self._hsts = ""
        self._length = -1
        self._is_connect = False
        #: The call of a gRPC client; None for another request.
        self.call: GRPCCall | None = None

    def begin(self, stream: HTTP2ClientStream, hsts: str, *, is_connect: bool) -> None:
        """Begin with another stream.

        `hsts` is the policy of Strict-Transport-Security or empty, `is_connect` True for an extended CONNECT.
        """
        self._stream = stream
        self._hsts = hsts
        self._is_connect = is_connect
        self._length = -1
        self.call = None
        self.sent = 0

    @property
    def _client(self) -> HTTP2ClientStream:
        assert self._stream is not None  # noqa: S101 `begin` comes first
        return self._stream

    def leave(self, body: Body) -> None:
        """Read what has arrived of the request's body, so that it counts; the rest is reset after the response."""
        body.on_first_read = None  # no 100 may follow the head of the response (RFC 9110 section 15.2)
        if self._client.has_ended and body.failure is None and not body.in_flight:
            try:
                while body.next_piece():
                    pass
            except HTTPError:  # it is too long, or malformed, and the response does not need it
                return

    def send(self, response: Response, method: str, minor: int) -> None:  # noqa: ARG002 as in HTTP/1
        call = self.call
        if call is None:
            self._send(response, method)
            return
        status = response.status
        call.outgoing(response)
        try:
            self._send(response, method)
        finally:
            response.status = status  # for the record

    def _send(self, response: Response, method: str) -> None:
        client = self._client
        headers, body, status = response.headers, response.raw_body, response.status
        if client.is_closed:
            if client.fault and status >= 400:  # the stream was reset: the record has the status
                return
            raise ClientGone  # `why_gone` tells it from a request that was malformed
        self._complete(headers, status)
        if not client.transport.may_append(client.stream):
            client.await_head(_at_hand(body))
        if self._is_connect and status < 300:
            if status == 101 and self._is_accepted(headers):
                self._send_tunnel(headers, body)
                return
            body = self._refuse(response)
            status = response.status
        if method == "HEAD" or status in (204, 304):
            self._send_bodiless(response, body)
        elif isinstance(body, bytes):
            self._send_whole(status, headers, body)
        else:
            self._length = declared_length(headers)
            self._send_stream(response, body)
        client.session.answered()

    def _complete(self, headers: Headers, status: int) -> None:
        """Remove what HTTP/2 does not have, add what every response has, and take over the priority."""
        strip_response(headers, status)
        if headers.lookup("date") is None:
            headers.put_line("date", date_line(int(time.time())))  # RFC 9110 section 6.6.1
        if self._hsts:
            add_hsts(headers, self._hsts)
        priority = headers.lookup("priority")
        if priority is not None:
            _override(self._client, priority)

    def _send_whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a body that is in memory; PERF: with the head in one send, if the windows have room."""
        client = self._client
        session, stream, size = client.session, client.stream, len(body)
        if size or self.call is None:  # gRPC: a head and nothing else
            headers.put("Content-Length", "content-length", str(size))
        session.respond(stream, status, headers, end=not size)
        self.sent = size
        if 0 < size <= _SMALL and size <= session.sendable(stream):
            session.send_data(stream, body, end=True)
        elif size:
            client.send(body, end=True)
        if session.under_way == 1:  # PERF: nothing else will be sent in this turn
            client.transport.flush()
        else:
            client.transport.appended()

    def _send_bodiless(self, response: Response, body: bytes | Iterable[bytes]) -> None:
        """Send a head only. RFC 9110 section 8.6: 204 has no length; HEAD and 304 have that of the omitted body."""
        headers = response.headers
        declared_length(headers)
        if response.status == 204:
            headers.discard("content-length")
        elif isinstance(body, bytes) and body and response.status != 304:
            headers.put("Content-Length", "content-length", str(len(body)))
        self._head(response.status, headers, end=True)

    def _head(self, status: int, headers: Headers, *, end: bool) -> None:
        client = self._client
        client.session.respond(client.stream, status, headers, end=end)
        client.transport.flush_soon()

    def _send_stream(self, response: Response, body: Iterable[bytes]) -> None:
        """Send the head at once, with the first piece if it is available; then send each piece as it comes."""
        self._head(response.status, response.headers, end=False)
        has_ended = False
        try:
            if isinstance(body, BackendBody):  # it watches the client itself
                has_ended = self._send_backends(body)
            else:
                self._send_watching(iter(body))
            if self._length >= 0:
                check_length(self.sent, self._length)
        except (Exception, Expired) as error:
            if not isinstance(error, Expired) or error.limit == TimeLimit.READ:
                self._client.flush()  # the client gets what the backend has sent before it failed
            raise
        if not has_ended:
            self._client.finish(getattr(body, "trailers", []))

    def _send_backends(self, body: BackendBody) -> bool:
        """Send the pieces of a backend's body; return whether the last one had the end with it."""
        client, has_ended = self._client, False
        for piece in body:
            if piece:
                self._counted(piece)
                has_ended = body.is_at_end and (self._length < 0 or self.sent == self._length)
                client.send(piece, end=has_ended)
        return has_ended

    def _send_watching(self, pieces: Iterator[Any]) -> None:
        """Send the pieces of a handler's iterator, which may block. Raises ClientGone while it blocks, too."""
        client = self._client
        before = client.watch(DisconnectWatch(client.pace.alarm.greenlet))
        try:
            for piece in pieces:
                if piece:
                    client.send(self._counted(piece))
                if client.deadline is not None:
                    client.deadline.resume()  # each piece may take as long as the first
        finally:
            client.watch(before)

    def _counted(self, piece: Any) -> bytes:  # noqa: ANN401 what a handler yields
        data = piece if isinstance(piece, bytes) else as_bytes(piece)
        self.sent += len(data)
        if 0 <= self._length < self.sent:
            raise BrokenResponseError(f"response body exceeds its Content-Length of {self._length}")
        return data

    def _is_accepted(self, headers: Headers) -> bool:
        """Return whether a 101 answers the key that the gateway has sent in place of the client's CONNECT."""
        request = self._client.request
        key = None if request is None else request.headers.lookup("sec-websocket-key")
        return key is not None and headers.lookup("sec-websocket-accept") == accept_of(key)

    def _send_tunnel(self, headers: Headers, body: bytes | Iterable[bytes]) -> None:
        """Send the 200 that opens a tunnel (RFC 8441 section 5), then the tunnel's bytes."""
        client = self._client
        headers.discard_all(_OF_THE_HANDSHAKE)
        self._head(200, headers, end=False)
        for piece in body if not isinstance(body, bytes) else ():
            self.sent += len(piece)
            client.send(piece)

    def _refuse(self, response: Response) -> bytes:
        """Replace a success that opens no tunnel: the client would take it for one. Return the body."""
        request = self._client.request
        is_broken = response.status == 101
        if is_broken and request is not None:
            request.reason = "backend_protocol"
        response.status = 502 if is_broken else 501
        response.headers.discard_all(_OF_THE_HANDSHAKE)
        return b""

    def why_gone(self) -> tuple[int, str]:
        return (400, "bad_request") if self._client.fault else (499, "client_gone")

    def give_up(self) -> None:
        self.sent = max(0, self.sent - self._client.drop())

    def abort(self) -> None:
        """Reset the stream: nothing can be taken for the end of the body."""
        client = self._client
        reason = "" if client.request is None else client.request.reason
        client.reset(CANCEL if reason in _CANCELLED else INTERNAL_ERROR)

    def end(self) -> None:
        client = self._client
        client.pace.alarm.expires = math.inf
        client.deadline = None
        request, client.request = client.request, None
        if request is not None:
            request.deadline.end()

    def close(self) -> None:
        """End the stream once the response has ended, whatever became of either side (RFC 9113 section 8.1)."""
        client = self._client
        stream = client.stream
        is_cancelled = stream.may_send or self._is_connect
        try:
            if stream.state != CLOSED and not is_cancelled:
                client.linger(_LINGER)
        finally:
            if stream.state != CLOSED:
                client.reset(CANCEL if is_cancelled else NO_ERROR)
            client.release()
            self._stream = None


#: Fields of a handshake in HTTP/1.1 (RFC 6455 section 4.2.2).
_OF_THE_HANDSHAKE: Final = frozenset({"content-length", "sec-websocket-accept", "transfer-encoding", "upgrade"})


def _override(client: HTTP2ClientStream, priority: str) -> None:
    """Let the parameters of a response's priority override those of the request (RFC 9218 section 8)."""
    stream = client.stream
    own = f"u={stream.urgency}, i" if stream.incremental else f"u={stream.urgency}"
    stream.prioritize(f"{own}, {priority}")


def _at_hand(body: bytes | Iterable[bytes]) -> int:
    """Return the size of what is in memory of a body."""
    if isinstance(body, BackendBody):
        return len(body.at_hand)
    return len(body) if isinstance(body, bytes) else 0
