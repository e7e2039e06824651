"""HTTP/1 with one client: read requests, dispatch them, write the responses, keep the connection alive.

ClientConnection is pywsgi's handler_class, but does not use pywsgi's parser: that parser guesses where this one
rejects, and it loses the case, order and repetition of header fields and the bytes of the target.
"""

import logging
import math
import socket
from collections.abc import Sequence
from time import monotonic
from typing import ClassVar, Final

from gproxy.gateway.error_responses import time_limit_error
from gproxy.http.body import NO_BODY, Body
from gproxy.http.deadline import Deadline
from gproxy.http.errors import BadMessage, ClientGone, HTTPError
from gproxy.http.exchange import Exchange
from gproxy.http.framing import CHUNKED, ChunkedReader, reader
from gproxy.http.headers import Headers
from gproxy.http.request import Received, Request
from gproxy.http.request_fields import NO_FIELDS, RequestFields
from gproxy.http.time_limit import TimeLimit
from gproxy.http.tls import TLS
from gproxy.http.trust import UNIX_PEER
from gproxy.http.wire import (
    HTTP2_PREFACE,
    RequestLine,
    check_beginning,
    check_first_line,
    parse_request_line,
    readable_line,
    without_empty_lines,
)
from gproxy.runtime.alarm import Alarm
from gproxy.runtime.expired import Expired
from gproxy.server.client_channel import ClientChannel
from gproxy.server.context import H2C, ActiveRequest, MakeMultiplexed, Multiplexed, ServerContext
from gproxy.server.dispatch import dispatch
from gproxy.server.response_writer import ResponseWriter

#: Seconds in which a kept-alive client may still send a request after a stop has begun.
LAST_REQUEST_SECONDS: Final = 1.0

_log = logging.getLogger("gproxy")

_IDLE: Final = TimeLimit.IDLE
_HEAD: Final = TimeLimit.HEAD
_END: Final = b"\r\n\r\n"
_CR: Final = 13
#: The longest head that an idle connection remembers, in bytes; with what is parsed of it, it holds some times as much.
LONGEST_REMEMBERED: Final = 2048
#: Bytes of the first read of a request: a usual head, and the 64 KiB of a body that `buffer_request` collects.
_FIRST_READ: Final = 68 * 1024
#: The request line of no head.
_NO_LINE: Final = parse_request_line(b"GET / HTTP/1.1")
#: A client that pipelines gets so many responses before others have a turn.
_PIPELINED: Final = 16
#: Bounds of reading on after a rejection, so that the client can read the response.
_DISCARDED_BYTES: Final = 16 * 1024 * 1024
_DISCARDING_SECONDS: Final = 2.0


class ClientConnection:
    """An HTTP/1 connection with one client; `handle` serves it to its end and never raises."""

    channel_class: ClassVar[type[ClientChannel]] = ClientChannel
    #: Result of the handshake; None without TLS.
    tls: TLS | None = None
    #: The policy of Strict-Transport-Security for each response; empty for none.
    hsts = ""

    def __init__(self, sock: socket.socket, address: object, context: ServerContext) -> None:
        self._context = context
        self._settings = context.settings
        self._gateway = context.gateway
        self._runtime = context.runtime
        self.peer = address[0].removeprefix("::ffff:") if isinstance(address, tuple) else UNIX_PEER
        self.alarm = Alarm(context.wheel)
        self._channel = self.channel_class(sock, self.alarm, context.channels)
        #: True while the connection waits for the first byte of a request.
        self.is_idle = True
        #: The protocol with streams that the connection has changed to.
        self.multiplexed: Multiplexed | None = None
        #: True if closing may take a while, so that a client that keeps sending can read the last response.
        self._closes_slowly = True
        #: The longest request line in bytes; the other half of the largest head is for the fields.
        self._max_line = self._settings.max_head // 2
        #: The number of requests read so far.
        self._requests = 0
        #: The last head parsed, and the results; empty before the first request, and after a long head.
        self._head = b""
        self._line = _NO_LINE
        self._fields = NO_FIELDS
        self._out = ResponseWriter(self._channel)

    def __repr__(self) -> str:
        request = self.request
        if self.multiplexed is not None:
            return f"<{type(self).__name__} {self.peer} {self.multiplexed!r}>"
        if request is None:
            return f"<{type(self).__name__} {self.peer} {'IDLE' if self.is_idle else 'READING'}>"
        state = "TUNNEL" if self.is_tunnel else "ACTIVE"
        return f"<{type(self).__name__} {self.peer} {state}, {request.method} {request.path}>"

    @property
    def context(self) -> ServerContext:
        """The objects that the connections of its listener share."""
        return self._context

    @property
    def channel(self) -> ClientChannel:
        """The channel to the client."""
        return self._channel

    @property
    def request(self) -> Request | None:
        """The request in progress."""
        return self._channel.request

    @property
    def active_requests(self) -> Sequence[ActiveRequest]:
        """The servers of the requests in progress: this connection, or its streams."""
        if self.multiplexed is not None:
            return self.multiplexed.active_requests
        return [self] if self.request is not None else []

    @property
    def is_tunnel(self) -> bool:
        """True while a tunnel is open: bytes flow both ways under an idle limit, without a deadline."""
        if self.multiplexed is not None:
            return self.multiplexed.is_tunnel
        request = self.request
        return request is not None and request.exchange.is_tunnel

    def close_if_idle(self, seconds: float) -> None:
        """Close an idle connection after `seconds` unless a request arrives; answer that request, then close."""
        if self.multiplexed is not None:
            self.multiplexed.linger(seconds)
        elif self.is_idle:
            self.alarm.set(monotonic() + seconds, _IDLE)

    @property
    def sent(self) -> int:
        """The bytes sent of the present response's body."""
        return self._out.sent

    def cut(self, limit: TimeLimit) -> None:
        """Answer the request in progress with the limit's status, or break off its response; without one, close."""
        request = self.request
        if self.multiplexed is not None:
            self.multiplexed.cut(limit)
        elif request is None:
            self.alarm.set(monotonic(), limit)
        else:
            self.alarm.strike(limit, lambda: self.request is request)

    def accept_request(self, host: str, headers: Headers) -> bool:  # noqa: ARG002
        """Check that a request for this host may come here, and add what the connection knows of the client.

        Each request of a multiplexed connection passes here; HTTP/1 does the same once for equal heads. Return False
        if no request may follow it. Raises BadMessage.
        """
        return True

    def handle(self) -> None:
        connections = self._context.connections
        too_many = connections.admit(self)
        try:
            if too_many:
                error = HTTPError(503, too_many, {"Retry-After": "1"}, reason="max_connections")
                self._closes_slowly = connections.may_close_slowly
                make = self._http2(monotonic() + LAST_REQUEST_SECONDS) if self._closes_slowly else None
                self._reject(error) if make is None else make(self).refuse(error)
            else:
                while self._serve_one():
                    pass
        except (ClientGone, OSError):
            pass
        except Expired as error:  # while idle, or while a rejection was written
            _log.debug("%s: %s", self.peer, error)
        except Exception:  # noqa: BLE001 a bug must not end the worker
            _log.exception("connection from %s failed", self.peer)
        finally:
            try:
                self._close()
            finally:
                connections.forget(self)

    def _close(self) -> None:
        try:
            if self._closes_slowly and (self._out.leaves_unread or self._has_more_after_response()):
                self._channel.shut_writing()
                self._channel.discard(_DISCARDED_BYTES, _DISCARDING_SECONDS)
        finally:
            self.alarm.close()
            self._channel.close()

    def _has_more_after_response(self) -> bool:
        """Return whether the client has sent more after a response that was not broken off.

        Closing with unread bytes sends a reset, which discards what the client has not read yet (RFC 9112
        section 9.6).
        """
        channel, out = self._channel, self._out
        return out.head_sent and not out.is_aborted and (channel.has_event or bool(channel.buffer))

    def _serve_one(self) -> bool:
        """Serve one request; return True if another may follow."""
        self.is_idle = True
        started = 0.0
        try:
            if not self._channel.buffer:
                if not self._await_first_bytes():
                    return False
            elif not self._requests % _PIPELINED:
                self._channel.wait_writable()  # takes a turn of the loop, in which other connections are read too
            self.is_idle = False
            self._requests += 1
            started = monotonic()
            request = self._read_request(started)
        except (BadMessage, HTTPError) as error:
            make = self._http2(started + self._settings.head_timeout) if self._requests == 1 else None
            return self._reject(error, started) if make is None else self._hand_over(make)
        except Expired as error:
            if error.limit != _HEAD or not self._channel.buffer:
                return False  # idle: no request began
            return self._reject(time_limit_error(error), started)
        return self._exchange(request, started)

    def _http2(self, until: float) -> MakeMultiplexed | None:
        """Return what serves HTTP/2 here if the bytes begin with its preface; wait for the rest of one until then."""
        make, channel = self._context.protocols.get(H2C), self._channel
        if make is None:
            return None
        self.alarm.set(until, _HEAD)
        while len(channel.buffer) < len(HTTP2_PREFACE) and HTTP2_PREFACE.startswith(channel.buffer):
            more = channel.receive(65536)
            if not more:
                raise ClientGone
            channel.buffer += more
        self.alarm.expires = math.inf
        return make if channel.buffer.startswith(HTTP2_PREFACE) else None

    def _hand_over(self, make: MakeMultiplexed) -> bool:
        """Serve the connection to its end in a protocol with streams; the channel's buffer has its first bytes."""
        self.multiplexed = multiplexed = make(self)
        multiplexed.run()
        return False

    def _await_first_bytes(self) -> bool:
        settings = self._settings
        limit = settings.idle_timeout if self._requests else settings.head_timeout
        if len(self._head) > LONGEST_REMEMBERED:
            self._forget_head()
        self.alarm.set(monotonic() + (LAST_REQUEST_SECONDS if self._runtime.draining else limit), _IDLE)
        self._channel.buffer = data = self._channel.receive(_FIRST_READ)
        self.alarm.expires = math.inf
        return bool(data)

    def _read_request(self, started: float) -> Request:
        """Return the next request. Raises BadMessage; the head stays in the buffer until it is parsed."""
        channel = self._channel
        data = channel.buffer
        if data == self._head:  # PERF: the same head again, as from most clients that poll
            line, fields = self._parse_head(data)
            channel.buffer = b""
        else:
            end = data.find(_END)
            if end < 0 or data[0] == _CR or end > self._max_line:  # an empty line first, or perhaps too long
                data, end = self._read_slowly(data, started)
            line, fields = self._parse_head(data[: end + 4])
            channel.buffer = data[end + 4 :]
        body = self._body(fields) if fields.framing else NO_BODY
        received = Received(line.method, line.target, line.minor, fields.received, self.peer, self.tls)
        headers = fields.headers.copy()
        host = fields.host
        if line.authority:  # counts instead of the Host field: RFC 9112 section 3.2.2
            host = line.authority
            headers.put("Host", "host", host)
        deadline = Deadline(self.alarm)
        request = Request(received, headers, host, line.path, line.query, body, deadline, channel, fields.offered)
        request.exchange.client = fields.client
        request.exchange.id = fields.request_id
        return request

    def _forget_head(self) -> None:
        """Release the last head and the results of parsing."""
        self._head, self._line, self._fields = b"", _NO_LINE, NO_FIELDS

    def _parse_head(self, head: bytes) -> tuple[RequestLine, RequestFields]:
        """Return the head's request line and fields; parse only what differs from the previous head."""
        if head == self._head:
            return self._line, self._fields
        end = head.find(b"\r\n")
        line = parse_request_line(head[:end])
        block = head[end + 2 :]
        if self._fields.block != block or self._fields.minor != line.minor:
            is_first = self._requests == 1  # a client that varies its fields would only fill the memory of others
            self._fields = self._context.fields.fields(block, line.minor, self.peer, keep=is_first)
        self._line, self._head = line, head
        return line, self._fields

    def _read_slowly(self, data: bytes, started: float) -> tuple[bytes, int]:
        """Return the received data and the position of the head's end, within all limits.

        Stop at the first byte that cannot belong to a head. Raises BadMessage, Expired and ClientGone.
        """
        channel = self._channel
        self.alarm.set(started + self._settings.head_timeout, _HEAD)
        checked = 0
        while True:
            if data[:2] == b"\r\n":  # RFC 9112 section 2.2: some clients send an extra line after a body
                data = without_empty_lines(data)
            channel.buffer = data  # a timeout needs to see whether a request began, a rejection its first line
            end = data.find(_END)
            # Without an end the head is at least this long: at most 3 bytes of the end mark have arrived.
            self._check_size(data, len(data) - 3 if end < 0 else end)
            if end >= 0:
                self.alarm.expires = math.inf
                return data, end
            check_beginning(data, checked)
            check_first_line(data, checked)
            checked = len(data)
            more = channel.receive(65536)
            if not more:
                raise ClientGone
            data += more

    def _check_size(self, data: bytes, size: int) -> None:
        if size <= self._max_line:
            return
        line = data.find(b"\r\n")
        if line > self._max_line or line < 0:
            raise BadMessage("the request target is too long", 414)
        if size > self._settings.max_head:
            raise BadMessage("the request head is too large", 431)

    def _body(self, fields: RequestFields) -> Body:
        """Return the body with its buffered part; reject malformed buffered chunks before the exchange begins."""
        channel, framing, buffered = self._channel, fields.framing, self._channel.buffer
        rest = reader(framing, channel)
        if not buffered:
            data = b""
        elif isinstance(rest, ChunkedReader):
            data = self._first_chunks(rest, buffered)
        else:
            data = rest.next_piece()
        return Body(
            data,
            rest,
            None if framing == CHUNKED else framing,
            limit=self._settings.max_body,
            forbidden_trailers=self._gateway.trust.forbidden_trailers,
            on_first_read=channel.send_continue if fields.awaits_continue and not buffered else None,
        )

    def _first_chunks(self, rest: ChunkedReader, buffered: bytes) -> bytes:
        self._channel.buffer = b""
        try:
            data = rest.feed(buffered)
            self._check_body_size(len(data))
        except BadMessage:
            self._channel.buffer = self._head  # the rejection logs its first line
            raise
        return data

    def _check_body_size(self, size: int) -> None:
        if 0 < self._settings.max_body < size:
            raise BadMessage(f"request body exceeds the limit of {self._settings.max_body} bytes", 413)

    def _exchange(self, request: Request, started: float) -> bool:
        """Dispatch the request, send the response and record the exchange; return True to keep the connection."""
        channel, out = self._channel, self._out
        channel.deadline = request.deadline
        channel.request = request
        out.reset(keep=self._fields.keep)
        dispatch(request, started, out, self._gateway, self._runtime)
        return out.keep

    def _reject(self, error: BadMessage | HTTPError, started: float = 0.0) -> bool:
        """Answer a connection or bytes that are rejected before a request exists, and close.

        After such bytes the beginning of a next request is unknown.
        """
        exchange, out = Exchange.rejected(self.peer, readable_line(self._channel.buffer)), self._out
        out.leaves_unread = True
        response = self._gateway.reject(error, exchange)
        self.alarm.clear()
        self._channel.buffer = b""
        out.reset(keep=False)
        try:
            out.send(response, exchange.method, 1)
        finally:
            exchange.bytes_sent = out.sent
            exchange.duration = monotonic() - started if started else 0.0
            self._gateway.finish(exchange)
        return False
