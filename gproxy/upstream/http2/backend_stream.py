"""One request on a shared HTTP/2 connection, with the interface of a connection of HTTP/1.1."""

from typing import Final

import gevent

from gproxy.http.body import NO_BODY, Body
from gproxy.http.client_stream import ClientStream
from gproxy.http.errors import ClientGone, HTTPError, Incomplete
from gproxy.http.field_names import HOP_BY_HOP, FieldNames
from gproxy.http.forwarding import WEBSOCKET
from gproxy.http.framing import Reader
from gproxy.http.headers import Headers, Line
from gproxy.http.phase import SEND, WAIT
from gproxy.http.request import HeadWriter, Request
from gproxy.http.response import ResponseHead
from gproxy.http.websocket import accept_of
from gproxy.runtime.channel import Interrupted
from gproxy.runtime.expired import is_cut
from gproxy.runtime.http2.stream import StreamReader
from gproxy.runtime.waitable import as_waitable
from gproxy.upstream.connection import CONTINUE_WAIT, BackendConnection, Observer, TunnelEnd, UploadState
from gproxy.upstream.http2.connection import HTTP2Connection
from gproxy.upstream.http2.response_stream import ResponseStream, StreamTunnel

#: Fields of HTTP/1.1 that HTTP/2 expresses otherwise, or does not have (RFC 9113 section 8.2.2).
_OF_HTTP1: Final = frozenset({"connection", "host", "transfer-encoding", "upgrade"})
_NAMES: Final = FieldNames(lambda name, _: HOP_BY_HOP if name in _OF_HTTP1 else 0)

# PERF: as in HTTP/1.1, a Final is no attribute look-up.
_PENDING: Final = UploadState.PENDING
_BESIDE_RESPONSE: Final = UploadState.BESIDE_RESPONSE
_DONE: Final = UploadState.DONE
_FAILED: Final = UploadState.FAILED


class BackendStream(BackendConnection):
    """A lease of an HTTP/2 connection for one request to the backend of this name. `close` ends it."""

    def __init__(self, connection: HTTP2Connection, name: str, observe: Observer | None = None) -> None:
        super().__init__(name, observe)
        self._connection = connection
        #: The stream, once the head of the request was sent.
        self._stream: ResponseStream | None = None
        #: Bytes of the body that the stream has got.
        self._sent = 0
        self._is_closed = False

    def __repr__(self) -> str:
        used = "unused" if self._stream is None else self._stream.stream.id
        return f"<BackendStream {self._name} {used}, upload {self.upload.name}>"

    @property
    def _opened(self) -> ResponseStream:
        """The stream of the request. Raises RuntimeError before the request."""
        stream = self._stream
        if stream is None:
            raise RuntimeError(f"{self!r} has not sent its request: a bug in gproxy, please report it")
        return stream

    def send_request(self, write_head: HeadWriter, request: Request, authority: str) -> ResponseHead:
        """Send the request, forward interim responses, and return the head of the final one; see the base class."""
        lines = write_head.lines(request, authority)
        target = write_head.target(request)
        if self._observe is None:
            return self._send_request(lines, target, request)
        deadline = request.deadline
        began, paused = deadline.clock(), deadline.paused
        try:
            head = self._send_request(lines, target, request)
        except BaseException as error:
            if not is_cut(error):
                self._observe(deadline.clock() - began - (deadline.paused - paused), False)
            raise
        self._observe(deadline.clock() - began - (deadline.paused - paused), True)
        return head

    def _send_request(self, lines: list[Line], target: str, request: Request) -> ResponseHead:
        if self._stream is not None:
            raise RuntimeError(f"{self!r} has sent a request: a bug in gproxy, please report it")
        request.phase = SEND
        if (progress := request.deadline.progress) is not None:
            progress(False)  # the connection is open
        body = request.body
        host, headers = _headers(lines)
        if request.received.never_indexed:
            headers.never_index(request.received.never_indexed)
        if request.upgrade is not None:
            return self._connect(host, headers, target, request)
        self._stream = stream = self._connection.open(request.method, host, target, headers, body)
        stream.client = as_waitable(request.client_stream)
        if body is NO_BODY:
            return self._final_head(stream, request)
        self.upload = _PENDING
        stream.uploader, stream.deadline = stream.client, request.deadline
        try:
            if body.on_first_read is not None:
                self._await_continue(stream, body)
            return self._final_head(stream, request)
        except BaseException:
            if self.upload is _PENDING:
                self.upload = _FAILED
            raise

    def _connect(self, host: str, headers: Headers, target: str, request: Request) -> ResponseHead:
        """Ask for a WebSocket by extended CONNECT (RFC 8441); return the head that a backend sends in HTTP/1.1."""
        headers.discard("sec-websocket-key")
        self._stream = stream = self._connection.open("CONNECT", host, target, headers, NO_BODY, protocol=WEBSOCKET)
        stream.client = as_waitable(request.client_stream)
        head = self._final_head(stream, request)
        if head.status >= 300:
            return head
        answered = head.headers.copy()
        if key := request.headers.lookup("sec-websocket-key"):
            answered.put("Sec-WebSocket-Accept", "sec-websocket-accept", accept_of(key))
        return ResponseHead(101, "Switching Protocols", answered, 0, upgrade=WEBSOCKET)

    def _final_head(self, stream: ResponseStream, request: Request) -> ResponseHead:
        """Send the body, forward interim responses, and return the head of the final one."""
        body = request.body
        while True:
            if self.upload is _PENDING:
                request.phase = SEND
                self._upload(stream, request)
            request.phase = WAIT
            head = stream.next_head()
            if head.status >= 200:
                return head
            self._forward_interim(head, request)
            if body.on_first_read is not None:  # the client waits for 100, and this was another status
                self._await_continue(stream, body)

    def _await_continue(self, stream: ResponseStream, body: Body) -> None:
        """Wait until the backend responds to `Expect: 100-continue` (RFC 9110 section 10.1.1).

        A silent backend gets the body after `CONTINUE_WAIT`, or as soon as the client sends it without waiting.
        """
        client = stream.client
        with gevent.Timeout(CONTINUE_WAIT, False):
            while not stream.has_spoken():
                stream.has_event = False
                if client is None:
                    stream.wait()
                elif client.has_unread():
                    body.on_first_read = None  # the client needs no 100 any more
                    return
                elif not stream.wait_or(client) and client.is_gone():
                    raise ClientGone

    def _upload(self, stream: ResponseStream, request: Request) -> None:
        """Send the body piece by piece, until its end or until the backend responds."""
        client, source, body = stream.client, request.client_stream, request.body
        stream.client = None
        stream.has_event = stream.has_spoken()
        stream.is_interruptible = True
        if source is not None:
            source.interrupt_reads(stream)
        try:
            while self.upload is _PENDING and not stream.has_spoken():
                self._send_piece(stream, body)
        except Interrupted:
            pass  # what is left of the piece waits in the stream, which sends it once the backend has room
        except Incomplete:
            if not stream.has_ended:
                raise
            self.upload = _FAILED  # the response is complete, and needs no more of the request (RFC 9113 section 8.1)
        finally:
            stream.is_interruptible = False
            stream.client = client
            if source is not None:
                source.interrupt_reads(None)

    def _send_piece(self, stream: ResponseStream, body: Body) -> None:
        """Send the next piece; the last one with the end of the stream."""
        piece = body.next_piece()
        if stream.is_closed:
            self.upload = _FAILED
            return
        self._sent += len(piece)
        is_last = not piece or (self._sent == body.length and body.done)
        trailers = body.trailers if is_last else []
        if piece:
            stream.send(piece, end=is_last and not trailers)
        if is_last and (trailers or not piece):
            stream.finish(trailers)
        if is_last:
            self.upload = _DONE
        stream.renew()

    def continue_upload(self, request: Request) -> None:
        """Continue the upload beside the response; only an error response ends it."""
        stream, body = self._opened, request.body
        if self.upload is not _PENDING or body.on_first_read is not None:
            return
        self.upload = _BESIDE_RESPONSE
        body.in_flight = True
        stream.client = None
        self._uploader = gevent.spawn(self._upload_rest, stream, body)

    def _upload_rest(self, stream: ResponseStream, body: Body) -> None:
        try:
            stream.flush()
            while self.upload is _BESIDE_RESPONSE:
                self._send_piece(stream, body)
        except (HTTPError, ClientGone) as error:
            self.upload_error = error
            self._fail_upload(stream)
        except Exception:  # noqa: BLE001 of the stream: the reader of the response gets it, too
            self._fail_upload(stream)

    def _fail_upload(self, stream: ResponseStream) -> None:
        """End the stream: the reader of the response then fails, and finds the `upload_error` of a client."""
        self.upload = _FAILED
        stream.shut()

    def watch_client(self, client: ClientStream | None) -> None:
        """Notice that this client leaves while the stream waits for the backend."""
        self._opened.client = as_waitable(client)

    def receive_body(self, framing: int) -> "tuple[bytes, Reader | None]":  # noqa: ARG002 a stream says where it ends
        """Return the part of the body that arrived with the head, and a reader for the rest; None if complete."""
        if self._opened.is_bodiless:
            return b"", None
        reader = StreamReader(self._opened)
        data = reader.arrived()
        return data, None if reader.done and not reader.trailers else reader

    def is_reusable(self, rest: Reader | None) -> bool:  # noqa: ARG002
        """Return False: a stream has one exchange."""
        return False

    def start_tunnel(self) -> TunnelEnd:
        """Return the tunnel on the stream: from here on its reader does not observe the client."""
        stream = self._opened
        stream.tunnel_client, stream.client = stream.client, None
        return StreamTunnel(stream)

    def close(self) -> None:
        """End the exchange, and an upload beside the response; do nothing after that."""
        if self._is_closed:
            return
        self._is_closed = True
        stream = self._stream
        try:
            if self._uploader is not None:
                self._uploader.kill()  # waits, so an alarm may throw here
        finally:
            if self.upload is _PENDING or self.upload is _BESIDE_RESPONSE:
                self.upload = _FAILED
            if stream is not None:
                if stream.is_bodiless and not stream.stream.may_send:
                    self._connection.await_end(stream.stream)
                elif not stream.stream.is_closed:
                    stream.reset()
                stream.release()
            self._connection.release()


def _headers(lines: list[Line]) -> tuple[str, Headers]:
    """Return the authority, and the headers for HTTP/2, of the fields of a request head."""
    host = ""
    first: dict[str, Line] = {}
    further: list[tuple[str, Line]] = []
    known = _NAMES.known
    for line in lines:
        spelling = line[: line.find(":")]
        name = known.get(spelling) or _NAMES.learn(spelling)
        if name is None or name.uses:  # of HTTP/1.1; no line has a name that is no token
            if name is not None and name.key == "host":
                host = line[len("host: ") :]
        elif name.key in first:
            further.append((name.key, line))
        else:
            first[name.key] = line
    return host, Headers.parsed(first, further)
