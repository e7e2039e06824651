"""Requests over HTTP/2: what a stream's head becomes, and the answer to one that is rejected before."""

from time import monotonic
from typing import Final

from gproxy.gateway.grpc.adapter import GRPCAdapter
from gproxy.http.body import NO_BODY, Body
from gproxy.http.deadline import Deadline
from gproxy.http.errors import NO_LINE, BadMessage, ClientGone, HTTPError
from gproxy.http.exchange import Exchange, without_query
from gproxy.http.h2.fields import RequestHead, request_fields
from gproxy.http.request import HTTP2, Received, Request
from gproxy.http.websocket import new_key
from gproxy.http.wire import MOST_LOGGED
from gproxy.runtime.expired import Expired
from gproxy.runtime.http2.stream import StreamReader
from gproxy.server.connection import ClientConnection
from gproxy.server.http2.client_stream import HTTP2ClientStream
from gproxy.server.http2.response_writer import HTTP2ResponseWriter

_VIA: Final = "2.0"
#: Bytes of a body that are read with the head, so that they leave with the head to a backend: those of 128 streams are
#: as many as may be unread.
_AT_HAND: Final = 8192


class StreamRequests:
    """The maker of the requests of one connection."""

    __slots__ = ("_connection", "_gateway", "_max_body", "_rules", "grpc")

    def __init__(self, connection: ClientConnection) -> None:
        context = connection.context
        self._connection = connection
        self._gateway = context.gateway
        self._rules = context.fields.rules
        self._max_body = context.settings.max_body
        self.grpc = GRPCAdapter(context.gateway.parts.notes)

    def read(self, client: HTTP2ClientStream, head: RequestHead) -> tuple[Request, bool]:
        """Return the request of a head, and whether no other may follow on its connection. Raises BadMessage."""
        connection = self._connection
        fields = request_fields(head, self._rules, connection.peer)
        headers = fields.headers.copy()
        is_last = not connection.accept_request(head.host, headers)
        if head.protocol:
            headers.put("Sec-WebSocket-Key", "sec-websocket-key", new_key())
            body = NO_BODY
        elif client.is_complete and not client.trailers:
            body = NO_BODY
        else:
            body = self._body(client, fields.framing, awaits_continue=fields.awaits_continue)
        received = Received(head.method, head.target, 1, fields.received, connection.peer, connection.tls, HTTP2, _VIA)
        deadline = Deadline(client.pace.alarm)
        request = Request(received, headers, head.host, head.path, head.query, body, deadline, client, fields.offered)
        request.exchange.client = fields.client
        request.exchange.id = fields.request_id
        return request, is_last

    def _body(self, client: HTTP2ClientStream, length: int, *, awaits_continue: bool) -> Body:
        """Return the body with what has arrived of it, unless that is a lot. Raises BadMessage.

        What is read here returns its window, and may wait for long until a handler wants it.
        """
        reader = StreamReader(client)
        arrived = client.stream.unread
        most = self._max_body
        if 0 < most < arrived:
            raise BadMessage(f"request body exceeds the limit of {most} bytes", 413)
        if client.has_ended and not client.trailers:
            length = arrived
        data = reader.arrived() if arrived <= _AT_HAND else b""
        return Body(
            data,
            reader,
            length if length >= 0 else None,
            limit=most,
            forbidden_trailers=self._gateway.trust.forbidden_trailers,
            on_first_read=client.send_continue if awaits_continue and not arrived and not reader.done else None,
        )

    def reject(self, out: HTTP2ResponseWriter, client: HTTP2ClientStream, error: BadMessage | HTTPError) -> None:
        """Answer a stream that is rejected before a request exists, unless it is closed."""
        head = client.head
        line = error.line if isinstance(error, BadMessage) else NO_LINE
        if head is not None:
            line = head.method, without_query(head.target)[:MOST_LOGGED], HTTP2
        exchange = Exchange.rejected(self._connection.peer, _line(line))
        response = self._gateway.reject(error, exchange)
        if head is not None:
            out.call = self.grpc.call(head.headers, exchange)
        try:
            if not client.is_closed:
                out.send(response, exchange.method, 1)
        except (ClientGone, HTTPError, Expired):  # an HTTPError: the rest of the request is malformed
            out.give_up()
        finally:
            out.end()
            exchange.bytes_sent = out.sent
            exchange.duration = monotonic() - client.started
            self._gateway.finish(exchange)

    def begin(self, out: HTTP2ResponseWriter, client: HTTP2ClientStream, request: Request) -> None:
        """Begin the time of a request, and let its stream know it."""
        out.call = self.grpc.begin(request)
        client.deadline = request.deadline
        client.request = request

    def give_up(self, out: HTTP2ResponseWriter, client: HTTP2ClientStream, request: Request) -> None:
        """Record a request whose stream was reset before anything has seen it."""
        request.reason = "client_gone"
        out.end()
        request.end()
        self._gateway.finish(request.conclude(499, monotonic() - client.started, 0))

    def record(self, error: BadMessage | HTTPError, line: tuple[str, str, str]) -> None:
        """Record what gets no response: a malformed head, whose stream was reset, or a connection too many."""
        exchange = Exchange.rejected(self._connection.peer, _line(line))
        self._gateway.reject(error, exchange)
        self._gateway.finish(exchange)


def _line(line: tuple[str, str, str]) -> tuple[str, str, str]:
    """Return the readable parts of a request, with the protocol."""
    return line[0], line[1], HTTP2
