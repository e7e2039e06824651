"""One client connection: reads requests, has them answered, writes the responses, until one side has had enough.

It is pywsgi's handler_class, without pywsgi's parser: that one guesses where this one refuses, and it loses the
case, order and repetition of header fields and the bytes of the target.
"""

import logging
import math
from time import monotonic
from typing import Any, ClassVar, Final

from greenlet import GreenletExit

from gproxy.http.body import NO_BODY, Body
from gproxy.http.errors import BadMessage, ClientGone, HTTPError
from gproxy.http.framing import CHUNKED, ChunkedReader, reader
from gproxy.http.request import Deadline, Received, Request
from gproxy.http.request_fields import RequestFields
from gproxy.http.time_limit import TimeLimit
from gproxy.http.tls import TLS
from gproxy.http.trust import UNIX_PEER
from gproxy.http.wire import (
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
from gproxy.server.context import ServerContext
from gproxy.server.response_writer import ResponseWriter, log_broken_response
from gproxy.upstream.errors import BrokenBodyError

#: How long a kept-alive client may still send a request once a stop has begun, in seconds.
LINGER: Final = 1.0

_log = logging.getLogger("gproxy")

_IDLE: Final = TimeLimit.IDLE
_END: Final = b"\r\n\r\n"
#: What is still read from a client that was refused, so that it gets to see why; in bytes and seconds.
_DRAIN_BYTES: Final = 16 * 1024 * 1024
_DRAIN_SECONDS: Final = 2.0


class ClientConnection:
    """Serves one client until the connection ends; `handle` never raises."""

    channel_class: ClassVar[type[ClientChannel]] = ClientChannel
    #: What was agreed on, on a connection that is encrypted.
    tls: TLS | None = None

    def __init__(self, sock: Any, address: Any, context: ServerContext) -> None:
        self._context = context
        self._settings = context.settings
        self._gateway = context.gateway
        self._runtime = context.runtime
        self.peer = address[0].removeprefix("::ffff:") if isinstance(address, tuple) else UNIX_PEER
        self.alarm = Alarm(context.wheel)
        self._channel = self.channel_class(
            sock, self.alarm, body_timeout=self._settings.body_timeout, write_timeout=self._settings.write_timeout
        )
        #: Waiting for the first byte of a request.
        self.is_idle = True
        #: What is under way, for the log of a forced stop.
        self.request: Request | None = None
        self._unread = self._is_aborted = False
        #: May it stay open for a moment, so that a client that goes on sending gets to read the last response?
        self._lingers = True
        #: The last head that was understood, and what it meant.
        self._head = b""
        self._line: RequestLine
        self._known: RequestFields
        self._out = ResponseWriter(self._channel)

    @property
    def is_tunnel(self) -> bool:
        """Does it carry bytes both ways, under an idle limit and no deadline?"""
        return self.request is not None and self._channel.deadline is None

    def linger(self, seconds: float) -> None:
        """A stop has begun: if no request comes within this time, close; one that comes is answered, then close."""
        if self.is_idle:
            self.alarm.set(monotonic() + seconds, _IDLE)

    def cut(self) -> None:
        """Its time is up: a request that has no answer yet gets a 503, a response under way is broken off."""
        self.alarm.set(monotonic(), TimeLimit.DRAINING)

    def handle(self) -> None:
        connections = self._context.connections
        too_many = connections.admit(self)
        try:
            if too_many:
                self._lingers = connections.may_linger
                self._reject(HTTPError(503, too_many, {"Retry-After": "1"}, reason="max_connections"))
            else:
                while self._serve_one():
                    pass
        except (ClientGone, OSError):
            pass
        except Expired as error:  # while idle, or while a refusal was written
            _log.debug("%s: %s", self.peer, error)
        except Exception:
            _log.exception("connection from %s", self.peer)
        finally:
            try:
                self._close()
            finally:
                connections.forget(self)

    def _close(self) -> None:
        try:
            if self._lingers and (self._unread or (self._out.head_sent and not self._is_aborted and self._has_more())):
                self._channel.shut_writing()
                self._channel.drain(_DRAIN_BYTES, _DRAIN_SECONDS)
        finally:
            self.alarm.close()
            self._channel.close()

    def _has_more(self) -> bool:
        """Has the client gone on? To close on what was not read is a reset, which takes back what the client has not
        read either (RFC 9112 section 9.6).
        """
        return self._channel.has_event or bool(self._channel.buffer)

    def _serve_one(self) -> bool:
        """One request; True if another may follow."""
        self.is_idle = True
        started = 0.0
        try:
            if not self._channel.buffer and not self._await_first_bytes():
                return False
            self.is_idle = False
            started = monotonic()
            request = self._read_request(started)
        except (BadMessage, HTTPError) as error:
            return self._reject(error, started)
        except Expired as error:
            if error.limit is not TimeLimit.HEAD or not self._channel.buffer:
                return False  # idle: nobody asked anything
            return self._reject(HTTPError(408, "the request head did not come in time"), started)
        return self._exchange(request, started)

    def _await_first_bytes(self) -> bool:
        settings = self._settings
        limit = settings.idle_timeout if self._head else settings.head_timeout
        self.alarm.set(monotonic() + (LINGER if self._runtime.draining else limit), _IDLE)
        self._channel.buffer = data = self._channel.receive(65536)
        self.alarm.expires = math.inf
        return bool(data)

    def _read_request(self, started: float) -> Request:
        """The request, as handlers see it. Raises BadMessage; the head is in the buffer until it was understood."""
        channel = self._channel
        data = channel.buffer
        if data == self._head:  # PERF: nothing new, as from most clients that poll
            line, known = self._understand(data)
            channel.buffer = b""
        else:
            end = data.find(_END)
            if end < 0 or data[0] == 13 or end > self._settings.max_head // 2:
                data, end = self._read_slowly(data, started)
            line, known = self._understand(data[: end + 4])
            channel.buffer = data[end + 4 :]
        body = self._body(known) if known.framing else NO_BODY
        received = Received(line.method, line.target, line.minor, known.fields, self.peer, self.tls)
        headers = known.headers.copy()
        host = known.host
        if line.authority:  # counts instead of the Host field: RFC 9112 section 3.2.2
            host = line.authority
            headers.put("Host", "host", host)
        deadline = Deadline(self.alarm)
        request = Request(received, headers, host, line.path, line.query, body, deadline)
        request.client = known.client
        request._id = known.request_id
        request.client_stream = channel
        request.upgrade = known.upgrade if line.method == "GET" else None
        return request

    def _understand(self, head: bytes) -> tuple[RequestLine, RequestFields]:
        """What the head says; only what differs from the one before it is looked at."""
        if head == self._head:
            return self._line, self._known
        end = head.find(b"\r\n")
        line = parse_request_line(head[:end])
        block = head[end + 2 :]
        if not self._head or self._known.block != block or self._known.minor != line.minor:
            self._known = self._context.fields.fields(block, line.minor, self.peer)
        self._line, self._head = line, head
        return line, self._known

    def _read_slowly(self, data: bytes, started: float) -> tuple[bytes, int]:
        """Up to the empty line: in time, within the limits, and no further than it can still become a head."""
        channel = self._channel
        self.alarm.set(started + self._settings.head_timeout, TimeLimit.HEAD)
        checked = 0
        while True:
            if data[:2] == b"\r\n":  # RFC 9112 section 2.2: some clients send a line too many after a body
                data = without_empty_lines(data)
            channel.buffer = data  # a timeout tells by it whether anything came, a refusal what
            end = data.find(_END)
            self._check_size(data, len(data) - 3 if end < 0 else end)  # as if all but the last byte of _END were there
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
        limit = self._settings.max_head
        if size <= limit // 2:
            return
        line = data.find(b"\r\n")
        if line > limit // 2 or line < 0:
            raise BadMessage("the request target is too long", 414)
        if size > limit:
            raise BadMessage("the request head is too large", 431)

    def _body(self, known: RequestFields) -> Body:
        """With what of it has come already: chunks that are malformed at once are refused before anybody sees them."""
        channel, framing, buffered = self._channel, known.framing, self._channel.buffer
        rest = reader(framing, channel)
        if not buffered:
            at_hand = b""
        elif isinstance(rest, ChunkedReader):
            at_hand = self._first_chunks(rest, buffered)
        else:
            at_hand = rest.next_piece()
        body = Body(at_hand, rest, None if framing == CHUNKED else framing)
        body.received = len(at_hand)
        body.no_trailers = self._gateway.trust.forbidden_trailers
        body.limit = self._settings.max_body
        if known.awaits_continue and not buffered:
            body.on_first_read = channel.send_continue
        return body

    def _first_chunks(self, rest: ChunkedReader, buffered: bytes) -> bytes:
        self._channel.buffer = b""
        try:
            at_hand = rest.feed(buffered)
            self._check_body_size(len(at_hand))
        except BadMessage:
            self._channel.buffer = self._head  # its first line is logged with the refusal
            raise
        return at_hand

    def _check_body_size(self, size: int) -> None:
        if 0 < self._settings.max_body < size:
            raise BadMessage(f"a body may have {self._settings.max_body} bytes here", 413)

    def _exchange(self, request: Request, started: float) -> bool:
        """Have it answered, and send the answer; an access line in any case."""
        channel = self._channel
        self.request = request
        channel.deadline = request.deadline
        received = request.received
        body = request.body
        out = self._out
        out.reset(keep=self._known.keep)
        status = 499
        try:
            response = self._gateway(request)
            if self._runtime.draining:  # since before it was asked, or only now
                out.keep = False
            if body is not NO_BODY and not body.done and not self._skip(body):
                self._unread = True
                out.keep = False
            try:
                status = response.status
                out.send(response, received.method, received.minor)
            finally:
                if response._callbacks:
                    response.close()
        except ClientGone:
            request.reason = "client_gone"
            status = 499
            out.keep = False
        except GreenletExit:
            raise
        except BaseException as error:
            self._break_off(request, out, error)
        finally:
            self.alarm.expires = math.inf
            channel.deadline = None
            self.request = None
            if request._at_end:
                request.end()
            self._gateway.record(request, status, monotonic() - started, out.sent)
        return out.keep

    def _skip(self, body: Body) -> bool:
        """Take what is left of the body out of the way, if that needs no waiting."""
        if body.on_first_read is not None or body.length is None or body.in_flight:
            return False
        if body.length - body.received > len(self._channel.buffer):
            return False
        while body.next_piece():
            pass
        return body.done

    def _break_off(self, request: Request, out: ResponseWriter, error: BaseException) -> None:
        """The head is out and the body cannot be finished: the client must not take it for complete."""
        if isinstance(error, Expired):
            request.reason = error.limit.reason_after_head or TimeLimit.DEADLINE.reason_after_head
        elif isinstance(error, BrokenBodyError):
            request.reason = "backend_reset"
        elif isinstance(error, HTTPError):  # foreseen, as of an upload that is read while we answer
            request.reason = error.reason
        else:
            request.reason = "handler_error"
            _log.error("%s %s %s: the response body failed", request.id, request.method, request.path, exc_info=error)
        out.keep = False
        log_broken_response(request, error)
        if not out.is_delimited:
            self._unread = False  # what closes with grace ends in good order, and that says complete
            self._is_aborted = True
            self._channel.abort()

    def _reject(self, error: BadMessage | HTTPError, started: float | None = None) -> bool:
        """Answer what is no request and close: nobody knows where the next one would begin."""
        self._unread = True
        line = readable_line(self._channel.buffer)
        response = self._gateway.reject(error, self.peer, monotonic() if started is None else started, line)
        self.alarm.clear()
        self._channel.buffer = b""
        self._out.reset(keep=False)
        self._out.send(response, line[0], 1)
        return False
