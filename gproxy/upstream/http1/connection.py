"""One request and its response at a time with a backend, in our own grammar.

`http.client`'s response parser is not on the path: it costs more than everything else together, adds headers of its
own, and takes what our grammar refuses.
"""

from collections.abc import Callable
from time import monotonic
from typing import Any, Final

import gevent

from gproxy.http.body import NO_BODY, Body
from gproxy.http.client_stream import ClientStream
from gproxy.http.errors import BadMessage, ClientGone, HTTPError, Incomplete
from gproxy.http.framing import ChunkedReader, CloseReader, Reader, chunk, last_chunk, reader
from gproxy.http.request import Request
from gproxy.http.wire import check_beginning
from gproxy.runtime.channel import Channel, Interrupted
from gproxy.upstream.errors import StaleConnectionError, UnansweredError, UnfinishedUploadError
from gproxy.upstream.http1.channel import BackendChannel
from gproxy.upstream.http1.response_head import ResponseHead, parse_response_head

#: A response head beyond this is refused, in bytes.
MAX_HEAD: Final = 64 * 1024
#: How long a client's `Expect: 100-continue` waits for a backend that may not know it, in seconds.
CONTINUE_WAIT: Final = 1.0
#: Told that the backend has taken (False) or given (True) something: `Deadline.progress`.
Progress = Callable[[bool], None] | None
#: Told how many seconds an exchange took until the response's head was there, and whether it came.
Observer = Callable[[float, bool], None]


class HTTP1Connection:
    """Over a connection that urllib3 has made, and closes."""

    def __init__(self, connection: Any, channel: BackendChannel, observe: Observer | None = None) -> None:
        self._connection = connection
        self.channel: BackendChannel | None = channel
        self._observe = observe
        #: Was a response read over it before?
        self.reused = False
        #: When it was made, and when it came back to the pool, on the monotonic clock.
        self.born = monotonic()
        self.idle_since = 0.0
        #: The last response's head.
        self.last: ResponseHead | None = None
        #: Carries the rest of an upload beside the response.
        self._carrying: gevent.Greenlet | None = None
        #: Why that came to no end, if it is the client's doing.
        self.upload_error: BaseException | None = None
        #: What the last request sends.
        self._body = NO_BODY
        self._sent = True
        self._unsent: bytes | memoryview = b""

    def close(self) -> None:
        if self._carrying is not None:
            self._carrying.kill()
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        self._connection.close()

    @property
    def is_connected(self) -> bool:
        """Can a request be sent over it? A pooled connection on which something came cannot."""
        channel = self.channel
        if channel is None or channel.buffer:
            return False
        return not channel.has_event or channel.is_quiet()

    def forget(self) -> None:
        """Drop what the last exchange has left behind; for a connection that becomes idle."""
        self._body = NO_BODY
        if self.channel is not None:
            self.channel.client = self.channel.uploader = None

    def watch_client(self, client: ClientStream | None) -> None:
        """Notice that this client leaves while the connection waits for the backend."""
        if self.channel is not None:
            self.channel.client = _as_channel(client)

    def exchange(self, head: bytes, request: Request) -> ResponseHead:
        """What `_exchange` does, observed by whoever wants to know how long it takes."""
        if self._observe is None:
            return self._exchange(head, request)
        deadline = request.deadline
        began, paused, answered = monotonic(), deadline.paused, False
        try:
            answer = self._exchange(head, request)
            answered = True
        finally:
            self._observe(monotonic() - began - (deadline.paused - paused), answered)
        return answer

    def _exchange(self, head: bytes, request: Request) -> ResponseHead:
        """Send the request, and read the head of its final response, interim ones passed on.

        Raises OSError, Incomplete and BadMessage for the backend's faults, StaleConnectionError, and HTTPError or
        ClientGone for the client's.
        """
        channel = self.channel
        assert channel is not None  # noqa: S101 connect() came first
        channel.client = client = _as_channel(request.client_stream)
        self._body = body = request.body
        progress = request.deadline.progress
        if progress is not None:
            progress(False)  # the backend was reached
        try:
            if body is NO_BODY:
                channel.send(head)
                self._sent = True
            else:
                channel.uploader = client
                self._begin_upload(channel, head, body)
        except ConnectionError as error:
            raise self._unanswered(error) from None
        while True:
            if not self._sent:
                self._upload(channel, request)
            answer = self._read_answer(channel, request.method, progress)
            if answer.status >= 200 or answer.status == 101:
                return answer
            self.reused = False  # what ends now has not ended before the request came
            self._pass_interim(answer, request)
            if body.on_first_read is not None:  # the client waits for 100, and this was another one
                self._await_continue(channel, body)

    def _begin_upload(self, channel: BackendChannel, head: bytes, body: Body) -> None:
        """The head, with as much of the body as is at hand, in one send."""
        self._sent = False
        asks_first = body.on_first_read is not None
        first = b"" if asks_first else body.at_hand and body.next_piece()
        if first and body.length is None:
            first = chunk(first)
        self._unsent = b""
        channel.send(head + first)
        if asks_first:
            self._await_continue(channel, body)

    def _await_continue(self, channel: BackendChannel, body: Body) -> None:
        """RFC 9110 section 10.1.1: the backend says whether it wants the body.

        A silent one gets it after a while, or as soon as the client sends it without having waited.
        """
        client = channel.client
        with gevent.Timeout(CONTINUE_WAIT, False):
            while not channel.has_spoken():
                if client is None:
                    channel.wait()
                    channel.has_event = True  # so that the upload does not begin before it is read
                elif client.buffer:
                    body.on_first_read = None  # a 100 would tell it nothing
                    return
                elif channel.wait_or(client):
                    channel.has_event = True
                elif client.is_gone():
                    raise ClientGone

    def _upload(self, channel: BackendChannel, request: Request) -> None:
        """Pieces as they come, until the end or until the backend speaks; it is heard in the middle of it too."""
        client, stream, body = channel.client, request.client_stream, request.body
        channel.client = None
        if stream is not None:
            stream.interrupt_reads(channel)
        try:
            while not self._sent and not channel.has_spoken():
                self._upload_on(channel, body, request.deadline.progress)
        except ConnectionError:
            pass  # a backend that has closed may have said why, so its answer is read in any case
        finally:
            channel.client = client
            if stream is not None:
                stream.interrupt_reads(None)

    def _upload_on(self, channel: BackendChannel, body: Body, progress: Progress) -> None:
        """Until all is sent or something came from the backend, whatever it was."""
        try:
            self._unsent = channel.send_unless_readable(self._unsent)
            while not self._unsent and not channel.has_event and (piece := body.next_piece()):
                self._unsent = channel.send_unless_readable(chunk(piece) if body.length is None else piece)
                if progress is not None:
                    progress(False)
        except Interrupted:
            channel.has_event = True
        if not self._unsent and body.done and not channel.has_event:
            self._finish_upload(channel, body)

    def carry_on(self, request: Request) -> None:
        """Send the rest of the body beside the response; only an error makes it pointless (RFC 9112 section 9.5)."""
        channel, body = self.channel, request.body
        if self._sent or channel is None or body.on_first_read is not None:
            return
        body.in_flight = True
        channel.client = None
        self._carrying = gevent.spawn(self._carry, channel, body)

    def _carry(self, channel: BackendChannel, body: Body) -> None:
        try:
            channel.send(self._unsent)
            while piece := body.next_piece():
                channel.send(chunk(piece) if body.length is None else piece)
            self._finish_upload(channel, body)
        except (HTTPError, ClientGone) as error:
            self.upload_error = error
            channel.shut()  # whoever reads the response sees it broken off, and looks who is to blame
        except OSError:
            channel.shut()

    def _finish_upload(self, channel: BackendChannel, body: Body) -> None:
        if body.length is None:
            channel.send(last_chunk(body.trailers))
        self._sent = True

    def _read_answer(self, channel: BackendChannel, method: str, progress: Progress) -> ResponseHead:
        data = channel.buffer or self._more(channel, b"")
        last = self.last
        if last is not None and last.method == method and data.startswith(last.head):
            channel.buffer = data[len(last.head) :]
            return last
        self.last = answer = parse_response_head(self._read_head(channel, data, progress), method)
        return answer

    def _read_head(self, channel: BackendChannel, data: bytes, progress: Progress) -> bytes:
        while (end := data.find(b"\r\n\r\n")) < 0:
            check_beginning(data)
            if len(data) - 3 > MAX_HEAD or not b"HTTP/1.".startswith(data[:7]):
                raise BadMessage("what came is no response head", 502)
            if progress is not None:
                progress(True)
            data += self._more(channel, data)
        if end > MAX_HEAD:
            raise BadMessage("a response head beyond the limit", 502)
        channel.buffer = data[end + 4 :]
        return data[: end + 4]

    def _more(self, channel: BackendChannel, so_far: bytes) -> bytes:
        try:
            data = channel.receive(65536)
        except OSError as error:
            if so_far and self._body.done:
                raise
            raise self._unanswered(error) from None
        if data:
            return data
        if so_far and self._body.done:
            raise Incomplete("closed in a response head")
        raise self._unanswered("closed before a response head")

    def _unanswered(self, why: object) -> Exception:
        if not self._body.done:
            return UnfinishedUploadError(why)
        return StaleConnectionError(why) if self.reused else UnansweredError(why)

    def _pass_interim(self, answer: ResponseHead, request: Request) -> None:
        """RFC 9110 section 15.2: 100 is answered to whoever awaits it, other interim responses are passed on."""
        if request.client_stream is not None and request.received.minor:
            request.client_stream.send_interim(answer, request.body)

    def receive_body(self, framing: int) -> "tuple[bytes, Reader | None]":
        """What of the body came with the head, and the reader for the rest; None if that was all."""
        channel = self.channel
        assert channel is not None  # noqa: S101 connect() came first
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

    def is_reusable(self, rest: Reader | None) -> bool:
        """May the next request use it? Only if both messages ended where they said, and nothing came after."""
        channel = self.channel
        if channel is None or channel.buffer or channel.has_event or not self._sent:
            return False
        return rest is None or (rest.done and not isinstance(rest, CloseReader))


def _as_channel(client: ClientStream | None) -> Channel | None:
    """Return the client as what one greenlet can wait for beside a backend. PERF: a channel, not a protocol."""
    return client if isinstance(client, Channel) else None
