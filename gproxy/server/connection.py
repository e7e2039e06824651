"""One client connection: reads requests, has them answered, writes the responses, until one side has had enough.

It is pywsgi's handler_class, without pywsgi's parser: that one guesses where this one refuses, and it loses the
case, order and repetition of header fields and the bytes of the target.
"""

import logging
import math
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import gevent

from gproxy.http.body import NO_BODY, Body
from gproxy.http.errors import BadMessage, ClientGone, HTTPError
from gproxy.http.forwarding import connection_options, strip_hop_by_hop
from gproxy.http.framing import CHUNKED, reader, request_framing
from gproxy.http.headers import Headers
from gproxy.http.request import Deadline, Received, Request
from gproxy.http.response import Response
from gproxy.http.wire import RequestHead, check_beginning, parse_request
from gproxy.runtime.alarm import Alarm, Expired
from gproxy.server.client import ClientChannel
from gproxy.server.respond import Outgoing
from gproxy.upstream.transport import BrokenBodyError

if TYPE_CHECKING:
    from gproxy.server.listener import Server

#: How long a kept-alive client may still send a request once a stop has begun, in seconds.
LINGER: Final = 1.0

_log = logging.getLogger("gproxy")

_END: Final = b"\r\n\r\n"
#: What is still read from a client that was refused, so that it gets to see why; in bytes and seconds.
_DRAIN_BYTES: Final = 16 * 1024 * 1024
_DRAIN_SECONDS: Final = 2.0


class Connection:
    """Serves one client until the connection ends; `handle` never raises."""

    def __init__(self, sock: Any, address: Any, server: "Server") -> None:
        self._server = server
        self._settings = server.settings
        self._gateway = server.gateway
        self._peer = address[0].removeprefix("::ffff:") if isinstance(address, tuple) else "unix"
        self.alarm = Alarm()
        self._channel = ClientChannel(
            sock, self.alarm, body_timeout=self._settings.body_timeout, write_timeout=self._settings.write_timeout
        )
        #: Waiting for the first byte of a request.
        self.is_idle = True
        #: What is under way, for the log of a forced stop.
        self.request: Request | None = None
        self._unread = False
        self._is_new = True

    def linger(self, seconds: float) -> None:
        """A stop has begun: if no request comes within this time, close; one that comes is answered, then close."""
        if self.is_idle:
            self.alarm.set(monotonic() + seconds, "idle")

    def cut(self) -> None:
        """End it wherever it is."""
        gevent.kill(self.alarm.greenlet, block=False)

    def handle(self) -> None:
        server = self._server
        server.connections.add(self)
        try:
            if server.is_full:
                self._refuse(HTTPError(503, "too many connections", {"Retry-After": "1"}, reason="max_connections"))
            else:
                while self._serve_one():
                    pass
        except (ClientGone, OSError):
            pass
        except Expired as error:  # while idle, or while a refusal was written
            _log.debug("%s: %s", self._peer, error)
        except Exception:
            _log.exception("connection from %s", self._peer)
        finally:
            self._close()
            server.connections.discard(self)

    def _close(self) -> None:
        try:
            if self._unread:
                self._channel.shut_writing()
                self._channel.drain(_DRAIN_BYTES, _DRAIN_SECONDS)
        finally:
            self.alarm.close()
            self._channel.close()

    def _serve_one(self) -> bool:
        """One request; True if another may follow."""
        self.is_idle = True
        started = 0.0
        try:
            if not self._channel.buffer and not self._await_first_bytes():
                return False
            self.is_idle = False
            started = monotonic()
            head = parse_request(self._read_head(started))
            request = self._request(head)
        except BadMessage as error:
            return self._refuse(error, started)
        except HTTPError as error:
            return self._refuse(error, started)
        except Expired as error:
            if error.what != "head" or not self._channel.buffer:
                return False  # idle: nobody asked anything
            return self._refuse(HTTPError(408, "the request head did not come in time"), started)
        return self._exchange(request, started)

    def _await_first_bytes(self) -> bool:
        settings = self._settings
        limit = settings.head_timeout if self._is_new else settings.idle_timeout
        self.alarm.set(monotonic() + (LINGER if self._server.draining else limit), "idle")
        self._is_new = False
        data = self._channel.receive(65536)
        self.alarm.clear()
        self._channel.buffer = data
        return bool(data)

    def _read_head(self, started: float) -> bytes:
        """Up to and with the empty line; in time, within the limits, and no further than it can still become one."""
        channel = self._channel
        data = channel.buffer
        if data[:2] == b"\r\n":  # RFC 9112 section 2.2: after the last body, some clients send one line too many
            data = data.lstrip(b"\r\n")
        end = data.find(_END)
        if end < 0:
            self.alarm.set(started + self._settings.head_timeout, "head")
            while end < 0:
                check_beginning(data)
                self._check_size(data, len(data))
                channel.buffer = data  # what came so far; a timeout tells by it whether anything did
                more = channel.receive(65536)
                if not more:
                    raise ClientGone
                data = (data + more).lstrip(b"\r\n") if not data else data + more
                end = data.find(_END)
            self.alarm.clear()
        self._check_size(data, end)
        channel.buffer = data[end + 4 :]
        return data[: end + 4]

    def _check_size(self, data: bytes, size: int) -> None:
        limit = self._settings.max_head
        if size <= limit // 2:
            return
        line = data.find(b"\r\n")
        if line > limit // 2 or line < 0:
            raise BadMessage("the request target is too long", 414)
        if size > limit:
            raise BadMessage("the request head is too large", 431)

    def _request(self, head: RequestHead) -> Request:
        """The request as handlers see it. Raises BadMessage, HTTPError 413, 417, 431."""
        fields = head.fields
        if len(fields) > self._settings.max_fields:
            raise BadMessage("too many header fields", 431)
        headers = Headers.parsed(fields)
        framing = request_framing(headers, head.minor)
        received = Received(head.method, head.target, head.minor, fields, self._peer, "http", framing)
        body = NO_BODY if not framing else self._body(framing, headers, head.minor)
        request = Request(received, headers, head.host, head.path, head.query, body)
        request.connection = self._channel
        return request

    def _body(self, framing: int, headers: Headers, minor: int) -> Body:
        channel, limit = self._channel, self._settings.max_body
        if 0 < limit < framing:
            self._unread = True
            raise HTTPError(413, f"a body may have {limit} bytes here")
        expects = headers.pop("expect")
        length = None if framing == CHUNKED else framing
        rest = reader(framing, channel)
        at_hand = b""
        if length is not None and channel.buffer:
            at_hand = rest.next_piece()
        body = Body(at_hand, rest, length)
        body.received = len(at_hand)
        body.limit = limit
        if expects is not None and minor and not at_hand:
            if expects.lower() != "100-continue":
                raise HTTPError(417, "only 100-continue can be expected")
            body.on_first_read = self._channel.send_continue
        return body

    def _exchange(self, request: Request, started: float) -> bool:
        channel = self._channel
        self.request = request
        channel.deadline = request.deadline = Deadline(self.alarm)
        options = connection_options(request.headers)
        strip_hop_by_hop(request.headers, options)
        if request.received.minor:
            keep = "close" not in options
        else:
            keep = "keep-alive" in options and "close" not in options
        body = request.body
        out: Outgoing | None = None
        status = 499
        try:
            response = self._gateway(request)
            status = response.status
            self._unread = not (body is NO_BODY or body.done or self._skip(body))
            out = Outgoing(channel, response, keep=keep and not self._unread and not self._server.draining)
            try:
                out.send(request.received.method, request.received.minor)
            finally:
                response.close()
            return out.keep
        except ClientGone:
            request.reason = "client_gone"
            return False
        except (Exception, Expired) as error:
            self._break_off(request, out, error)
            return False
        finally:
            self.alarm.expires = math.inf
            channel.deadline = None
            self.request = None
            request.end()
            client_gone = request.reason == "client_gone" and (out is None or not out.head_sent)
            self._gateway.record(
                request, 499 if client_gone else status, monotonic() - started, 0 if out is None else out.sent
            )

    def _skip(self, body: Body) -> bool:
        """Take what is left of the body out of the way, if that needs no waiting."""
        if body.on_first_read is not None or body.length is None:
            return False
        if body.length - body.received > len(self._channel.buffer):
            return False
        while body.next_piece():
            pass
        return body.done

    def _break_off(self, request: Request, out: Outgoing | None, error: BaseException) -> None:
        """The head is out and the body cannot be finished: the client must not take it for complete."""
        if isinstance(error, Expired):
            request.reason = "client_timeout" if error.what == "write" else "deadline_mid_body"
        elif isinstance(error, BrokenBodyError):
            request.reason = "backend_reset"
        else:
            request.reason = "handler_error"
            _log.error("%s %s %s: the response body failed", request.id, request.method, request.path, exc_info=error)
        _log.warning(
            "%s %s %s: response broken off: %s", request.id, request.method, request.path, error or request.reason
        )
        if out is not None and not out.is_delimited:
            self._channel.abort()

    def _refuse(self, error: BadMessage | HTTPError, started: float | None = None) -> bool:
        """Answer what is no request and close: nobody knows where the next one would begin."""
        self._unread = True
        response: Response = self._gateway.refuse(error, self._peer, monotonic() if started is None else started)
        self.alarm.clear()
        self._channel.buffer = b""
        Outgoing(self._channel, response, keep=False).send("GET", 1)
        return False
