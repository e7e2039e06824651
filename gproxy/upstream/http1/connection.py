"""An HTTP/1 connection to a backend: one request at a time, with the gateway's own parser.

The parser of `http.client` costs more than all other steps together, and accepts what the gateway's grammar rejects.
"""

import math
from collections.abc import Callable
from enum import Enum
from time import monotonic
from typing import Any, Final

import gevent

from gproxy.http.body import NO_BODY, Body
from gproxy.http.client_stream import ClientStream
from gproxy.http.deadline import Deadline
from gproxy.http.errors import BadMessage, ClientGone, HTTPError, Incomplete
from gproxy.http.framing import PIECE, ChunkedReader, CloseReader, Reader, chunk, last_chunk, reader
from gproxy.http.phase import SEND, WAIT
from gproxy.http.request import HeadWriter, Request
from gproxy.http.response import ResponseHead
from gproxy.http.wire import check_beginning
from gproxy.runtime.channel import Interrupted
from gproxy.runtime.expired import is_cut
from gproxy.runtime.waitable import as_waitable
from gproxy.upstream.connection import CONTINUE_WAIT, BackendConnection, Observer, UploadState
from gproxy.upstream.errors import StaleConnectionError, UnansweredError, UnfinishedUploadError
from gproxy.upstream.http1.channel import LONG_UPLOAD, BackendChannel
from gproxy.upstream.http1.response_head import LONGEST_REMEMBERED, MAX_HEAD, HTTP1ResponseHead, parse_response_head

#: `Deadline.progress`: a function that is called when the backend has taken (False) or sent (True) bytes.
Progress = Callable[[bool], None] | None


class ConnectionState(Enum):
    """The states of a connection to a backend."""

    #: Open, without a request so far.
    NEW = 0
    #: In use by an exchange, from `send_request` on.
    ACTIVE = 1
    #: In the pool, after a complete exchange.
    IDLE = 2
    CLOSED = 3


# PERF: in compiled code an enum's member is an attribute look-up, a Final is none.
_NEW: Final = ConnectionState.NEW
_ACTIVE: Final = ConnectionState.ACTIVE
_IDLE: Final = ConnectionState.IDLE
_CLOSED: Final = ConnectionState.CLOSED
_NONE: Final = UploadState.NONE
_PENDING: Final = UploadState.PENDING
_BESIDE_RESPONSE: Final = UploadState.BESIDE_RESPONSE
_DONE: Final = UploadState.DONE
_FAILED: Final = UploadState.FAILED


class HTTP1Connection(BackendConnection):
    """A connection to a backend in HTTP/1; urllib3 opens and closes the underlying connection.

    `name` is the backend's name. A method raises RuntimeError in a state in which it must not be called.
    """

    def __init__(
        self,
        connection: Any,  # noqa: ANN401 what it uses of urllib3's connections has no types
        channel: BackendChannel,
        name: str,
        observe: Observer | None = None,
    ) -> None:
        super().__init__(name, observe)
        self._connection = connection
        self.channel = channel
        self.state = _NEW
        #: The number of requests sent so far.
        self.requests = 0
        #: When the connection was opened, and when it returned to the pool, on the monotonic clock.
        self.born = monotonic()
        self.idle_since = 0.0
        #: True while the backend may have closed the idle connection before it received the present request.
        self._may_be_stale = False
        self._last_head: HTTP1ResponseHead | None = None
        self._body = NO_BODY
        #: How long the idle connection may be used, as far as the last response says, in seconds.
        self.idle_timeout = math.inf
        #: Bytes taken from the body that the kernel has not taken yet.
        self._unsent: bytes | memoryview = b""

    def __repr__(self) -> str:
        plural = "" if self.requests == 1 else "s"
        upload = "" if self.upload is _NONE else f", upload {self.upload.name}"
        return f"<{type(self).__name__} {self._name} {self.state.name}, {self.requests} request{plural}{upload}>"

    def _misuse(self, call: str, expected: str) -> RuntimeError:
        return RuntimeError(f"{call} on {self!r}, expected {expected}: a bug in gproxy, please report it")

    def close(self) -> None:
        """Close the connection, and end an upload beside the response; do nothing if it is closed."""
        if self.state is _CLOSED:
            return
        self.state = _CLOSED
        try:
            if self._uploader is not None:
                self._uploader.kill()  # waits, so an alarm may throw here
        finally:
            if self.upload is _PENDING or self.upload is _BESIDE_RESPONSE:
                self.upload = _FAILED
            self.channel.close()
            self._connection.close()

    @property
    def is_connected(self) -> bool:
        """True if the next request can be sent: neither bytes nor the backend's end have arrived meanwhile."""
        channel = self.channel
        if (self.state is not _IDLE and self.state is not _NEW) or channel.buffer:
            return False
        return not channel.has_event or channel.is_quiet()

    def become_idle(self, now: float) -> None:
        """Release the body and the client of the exchange that has ended."""
        if self.state is not _ACTIVE:
            raise self._misuse("become_idle", "ACTIVE")
        self.state = _IDLE
        self.idle_since = now
        self.upload, self._body = _NONE, NO_BODY
        self.channel.client = self.channel.uploader = self.channel.deadline = None

    def watch_client(self, client: ClientStream | None) -> None:
        """Notice that this client leaves while the connection waits for the backend."""
        self.channel.client = as_waitable(client)

    def send_request(self, write_head: HeadWriter, request: Request, authority: str) -> ResponseHead:
        """Send the request, forward interim responses, and return the head of the final one; see the base class."""
        head = write_head(request, authority)
        if self._observe is None:
            return self._send_request(head, request)
        deadline = request.deadline
        began, paused = deadline.clock(), deadline.paused
        try:
            response_head = self._send_request(head, request)
        except BaseException as error:
            if not is_cut(error):
                self._observe(deadline.clock() - began - (deadline.paused - paused), False)
            raise
        self._observe(deadline.clock() - began - (deadline.paused - paused), True)
        return response_head

    def _send_request(self, head: bytes, request: Request) -> ResponseHead:
        state = self.state
        if state is not _IDLE and state is not _NEW:
            raise self._misuse("send_request", "NEW or IDLE")
        self._may_be_stale = state is _IDLE
        self.state = _ACTIVE
        request.phase = SEND
        self.requests += 1
        channel = self.channel
        channel.client = client = as_waitable(request.client_stream)
        self._body = body = request.body
        if (progress := request.deadline.progress) is not None:
            progress(False)  # the connection is open
        if body is NO_BODY:
            self._send(channel, head)
            return self._final_head(channel, request)
        self.upload = _PENDING
        channel.uploader, channel.deadline = client, request.deadline
        try:
            self._begin_upload(channel, head, body)
            return self._final_head(channel, request)
        except BaseException:
            if self.upload is _PENDING:
                self.upload = _FAILED
            raise

    def _send(self, channel: BackendChannel, data: bytes) -> None:
        try:
            channel.send(data)
        except ConnectionError as error:
            raise self._unanswered(error) from None

    def _final_head(self, channel: BackendChannel, request: Request) -> ResponseHead:
        """Send the body, forward interim responses, and return the head of the final one."""
        body, progress = request.body, request.deadline.progress
        while True:
            if self.upload is _PENDING:
                request.phase = SEND
                self._upload(channel, request)
            request.phase = WAIT
            if (body.length or body.received) > LONG_UPLOAD:
                channel.await_end_of_upload()
            response_head = self._read_response_head(channel, request.method, progress)
            if response_head.status >= 200 or response_head.status == 101:
                return response_head
            self._may_be_stale = False  # the backend has received this request
            self._forward_interim(response_head, request)
            if body.on_first_read is not None:  # the client waits for 100, and this was another status
                self._await_continue(channel, body)

    def _begin_upload(self, channel: BackendChannel, head: bytes, body: Body) -> None:
        """Send the head, with the buffered part of the body, in one call."""
        expects_continue = body.on_first_read is not None
        first = b"" if expects_continue else body.at_hand and body.next_piece()
        self._unsent = b""
        self._send(channel, head + (chunk(first) if first and body.length is None else first))
        if expects_continue:
            self._await_continue(channel, body)

    def _await_continue(self, channel: BackendChannel, body: Body) -> None:
        """Wait until the backend responds to `Expect: 100-continue` (RFC 9110 section 10.1.1).

        A silent backend gets the body after `CONTINUE_WAIT`, or as soon as the client sends it without waiting.
        """
        client = channel.client
        with gevent.Timeout(CONTINUE_WAIT, False):
            while not channel.has_spoken():
                if client is None:
                    channel.wait()
                    channel.has_event = True  # the upload must not begin before the response is read
                elif client.has_unread():
                    body.on_first_read = None  # the client needs no 100 any more
                    return
                elif channel.wait_or(client):
                    channel.has_event = True
                elif client.is_gone():
                    raise ClientGone

    def _upload(self, channel: BackendChannel, request: Request) -> None:
        """Send the body piece by piece, until its end or until the backend responds."""
        client, stream, body = channel.client, request.client_stream, request.body
        channel.client = None
        if stream is not None:
            stream.interrupt_reads(channel)
        try:
            while self.upload is _PENDING and not channel.has_spoken():
                self._upload_on(channel, body, request.deadline)
        except ConnectionError:
            self.upload = _FAILED  # the backend may have responded before it closed
        finally:
            channel.client = client
            if stream is not None:
                stream.interrupt_reads(None)

    def _upload_on(self, channel: BackendChannel, body: Body, deadline: Deadline) -> None:
        """Send pieces until the body ends or anything arrives from the backend, TLS records included."""
        try:
            self._unsent = channel.send_unless_readable(self._unsent)
            while not self._unsent and not channel.has_event and (piece := body.next_piece()):
                self._unsent = channel.send_unless_readable(chunk(piece) if body.length is None else piece)
                deadline.renew()
        except Interrupted:
            channel.has_event = True
        if not self._unsent and body.done and not channel.has_event:
            self._finish_upload(channel, body)

    def continue_upload(self, request: Request) -> None:
        """Continue the upload beside the response; only an error response ends it (RFC 9112 section 9.5)."""
        channel, body = self.channel, request.body
        if self.state is not _ACTIVE:
            raise self._misuse("continue_upload", "ACTIVE")
        if self.upload is not _PENDING or body.on_first_read is not None:
            return
        self.upload = _BESIDE_RESPONSE
        body.in_flight = True
        channel.client = None
        self._uploader = gevent.spawn(self._upload_rest, channel, body, request.deadline)

    def _upload_rest(self, channel: BackendChannel, body: Body, deadline: Deadline) -> None:
        try:
            channel.send(self._unsent)
            while piece := body.next_piece():
                channel.send(chunk(piece) if body.length is None else piece)
                deadline.renew()
            self._finish_upload(channel, body)
        except (HTTPError, ClientGone) as error:
            self.upload_error = error
            self._fail_upload(channel)
        except OSError:
            self._fail_upload(channel)

    def _fail_upload(self, channel: BackendChannel) -> None:
        """End the connection: the reader of the response then fails, and finds the `upload_error` of a client."""
        self.upload = _FAILED
        channel.shut()

    def _finish_upload(self, channel: BackendChannel, body: Body) -> None:
        if body.length is None:
            channel.send(last_chunk(body.trailers))
        self._unsent = b""  # an empty view would keep the last piece
        self.upload = _DONE

    def _read_response_head(self, channel: BackendChannel, method: str, progress: Progress) -> HTTP1ResponseHead:
        data = channel.buffer or self._more(channel, b"")
        last = self._last_head
        if last is not None and last.method == method and data.startswith(last.head):
            channel.buffer = data[len(last.head) :]
            return last
        response_head = parse_response_head(self._read_head(channel, data, progress), method)
        self._last_head = response_head if len(response_head.head) <= LONGEST_REMEMBERED else None
        self.idle_timeout = response_head.idle_timeout
        return response_head

    def _read_head(self, channel: BackendChannel, data: bytes, progress: Progress) -> bytes:
        while (end := data.find(b"\r\n\r\n")) < 0:
            check_beginning(data)
            if len(data) - 3 > MAX_HEAD or not b"HTTP/1.".startswith(data[:7]):
                raise BadMessage("the backend did not send an HTTP/1 response head", 502)
            if progress is not None:
                progress(True)
            data += self._more(channel, data)
        if end > MAX_HEAD:
            raise BadMessage(f"the response head exceeds the limit of {MAX_HEAD} bytes", 502)
        channel.buffer = data[end + 4 :]
        return data[: end + 4]

    def _more(self, channel: BackendChannel, so_far: bytes) -> bytes:
        try:
            data = channel.receive(PIECE)
        except OSError as error:
            if so_far and self._body.done:
                raise
            raise self._unanswered(error) from None
        if data:
            return data
        if so_far and self._body.done:
            raise Incomplete("closed within the response head")
        raise self._unanswered("closed before the response head")

    def _unanswered(self, why: object) -> Exception:
        """Return the exception for a connection that has ended without a response head."""
        self.is_stale = self._may_be_stale
        if not self._body.done:
            return UnfinishedUploadError(why)
        return StaleConnectionError(why) if self._may_be_stale else UnansweredError(why)

    def receive_body(self, framing: int) -> "tuple[bytes, Reader | None]":
        """Return the part of the body that arrived with the head, and a reader for the rest; None if complete."""
        if self.state is not _ACTIVE:
            raise self._misuse("receive_body", "ACTIVE")
        channel = self.channel
        if not framing:
            return b"", None
        buffered = channel.buffer
        if 0 < framing <= len(buffered):
            channel.buffer = buffered[framing:]
            return buffered[:framing], None
        rest = reader(framing, channel)
        if isinstance(rest, ChunkedReader):
            channel.buffer = b""
            data = rest.feed(buffered)
        else:
            data = rest.next_piece() if buffered else b""
        return data, None if rest.done and not rest.trailers else rest

    def start_tunnel(self) -> BackendChannel:
        """Return the channel: from here on its reader does not observe the client."""
        channel = self.channel
        channel.tunnel_client, channel.client = channel.client, None
        return channel

    def is_reusable(self, rest: Reader | None) -> bool:
        """Return whether the next request may use it: both messages ended as framed, and no byte followed."""
        channel = self.channel
        if self.state is not _ACTIVE or channel.buffer or channel.has_event:
            return False
        if self.upload is not _NONE and self.upload is not _DONE:
            return False
        return rest is None or (rest.done and not isinstance(rest, CloseReader))
