"""What a backend sends on one stream, and the waits for it; the counterpart of a channel to a backend."""

from typing import Final

import gevent

from gproxy.http.body import Body
from gproxy.http.deadline import Deadline
from gproxy.http.errors import BadMessage, ClientGone, Incomplete
from gproxy.http.h2.events import Event, HeadReceived, InterimReceived
from gproxy.http.h2.fields import WITHOUT_BODY
from gproxy.http.h2.frames import REFUSED_STREAM, error_name
from gproxy.http.h2.stream import Stream
from gproxy.http.response import ResponseHead
from gproxy.runtime.channel import Interrupted
from gproxy.runtime.http2.outbox import Outbox
from gproxy.runtime.http2.stream import HTTP2Stream
from gproxy.runtime.http2.transport import HTTP2Transport
from gproxy.runtime.waitable import Waitable
from gproxy.upstream.errors import ExcludedStreamError, RefusedStreamError, UnansweredError, UnfinishedUploadError

#: How often a blocked upload checks whether its client has left, in seconds.
_CHECK: Final = 0.2
#: A response without content is passed on together with its end, or after so many seconds.
_END_WAIT: Final = 0.5
#: The most interim responses that wait until the request's greenlet has forwarded them.
_MOST_INTERIM: Final = 16


class ResponseStream(HTTP2Stream):
    """The stream of one request to a backend; its waits raise ClientGone if the client leaves."""

    __slots__ = (
        "_body", "_interim", "_is_late", "client", "deadline", "head", "is_interruptible", "tunnel_client", "uploader",
        "why",
    )  # fmt: skip

    def __init__(self, transport: HTTP2Transport, stream: Stream, body: Body) -> None:
        super().__init__(transport, stream)
        self._body = body
        #: The final head, once it has arrived.
        self.head: ResponseHead | None = None
        self._interim: list[ResponseHead] = []
        #: True for a response without content whose end has not come in time.
        self._is_late = False
        #: The client that waits for the response.
        self.client: Waitable | None = None
        #: The client of a tunnel, whose end is not observed here.
        self.tunnel_client: Waitable | None = None
        #: The client that sends the request body, and the deadline, which starts anew while the backend takes it.
        self.uploader: Waitable | None = None
        self.deadline: Deadline | None = None
        #: True while the greenlet that sends the body is the one that has to notice the response.
        self.is_interruptible = False
        #: Why the stream has ended, if that was not its backend's reset.
        self.why = "the stream is over"

    def on_event(self, event: Event) -> None:
        """Take an event of the session, and wake who waits for it."""
        if isinstance(event, HeadReceived):
            head = event.head
            assert isinstance(head, ResponseHead)  # noqa: S101 of a session in the client's role
            self.head = head
            self.has_ended = event.ended
            self.notify()
        elif isinstance(event, InterimReceived):
            if len(self._interim) < _MOST_INTERIM:
                self._interim.append(event.head)
                self.notify()
        else:
            super().on_event(event)

    def _break_off(self) -> None:
        """End a stream that was reset; what has come of the response is read before, as over HTTP/1.1."""
        self.end()

    def has_spoken(self) -> bool:
        """Return whether a head, or the end of the stream, has arrived and was not taken."""
        return bool(self._interim) or self.head is not None or self.is_closed

    @property
    def is_bodiless(self) -> bool:
        """True if the response is complete with its head: nothing that may follow belongs to it (RFC 9110 6.4.1)."""
        head = self.head
        if head is None or self.stream.is_connect:  # a tunnel follows any success of a CONNECT, also 204
            return False
        return self.stream.is_without_body or head.status in WITHOUT_BODY or self._is_late

    def next_head(self) -> ResponseHead:
        """Return the next head, an interim or the final one; wait for it. Raises `end_error`, and ClientGone."""
        while not self._interim:
            if self.head is not None:
                self._await_end(self.head)
                return self.head
            if self.is_closed:
                raise self.end_error()
            self.has_event = False
            self.wait()
        return self._interim.pop(0)

    def _await_end(self, head: ResponseHead) -> None:
        """Wait a bit for the end of a response without content, which may come in another frame, behind trailers.

        A client could take the response for complete, and leave, before the backend has ended it. If no end comes, the
        response is complete without it, unless the backend may wait for the rest of the request.
        """
        if head.framing or self.has_ended or self.is_closed or self.is_bodiless or self.stream.is_connect:
            return
        with gevent.Timeout(_END_WAIT, False):
            self.has_event = False
            self.wait()
        needs_request = self.stream.may_send and head.status < 400
        self._is_late = not (self.has_ended or self.is_closed or needs_request)

    def lose(self, why: str) -> None:
        """End a stream whose connection is lost, and wake who waits for it."""
        self.why = why
        self.end()
        self.notify()

    def end_error(self) -> BaseException:
        """Return the exception for a stream that has ended too early."""
        if self.fault:
            return BadMessage(self.fault, 502)
        why = self.why if self.reset_code < 0 else f"the backend reset the stream: {error_name(self.reset_code)}"
        if self.head is not None:
            return Incomplete(why)
        if self.reset_code == REFUSED_STREAM:
            return ExcludedStreamError(why) if self.session.peer_last_id > 0 else RefusedStreamError(why)
        return UnansweredError(why) if self._body.done else UnfinishedUploadError(why)

    def wait(self) -> None:
        """Wait until something has arrived. Raises ClientGone."""
        client = self.client
        if client is None or not client.can_detect_close():
            super().wait()
            return
        while not self.wait_or(client):
            if client.is_gone():
                raise ClientGone
            if not client.can_detect_close():
                super().wait()
                return

    def take(self, limit: int) -> bytes:
        """Return received bytes without waiting, as many as the client may get at once."""
        client = self.client
        if client is None:
            client = self.tunnel_client
        return super().take(limit if client is None else client.piece(limit))

    def await_turn(self, outbox: Outbox) -> None:
        """Wait until the transport has taken something, with checks of the client: unread bytes hide its end.

        Raises Interrupted if the backend responds meanwhile, and the greenlet has to notice that.
        """
        taken = outbox.taken
        if self.is_interruptible:
            if self.has_spoken():
                raise Interrupted
            self._begin_reading()
        try:
            with gevent.Timeout(_CHECK, False):
                self._switch()
        finally:
            if self.is_interruptible:
                self._reader = None
        if outbox.taken > taken:
            self.renew()
        elif self.uploader is not None and self.uploader.has_left():
            raise ClientGone

    def renew(self) -> None:
        """Start the time of the request anew: the backend has taken a piece of the upload."""
        if self.deadline is not None:
            self.deadline.renew()

    def shut(self) -> None:
        """End both directions; a greenlet that reads sees the end."""
        self.reset()
        self.notify()


class StreamTunnel:
    """The backend's end of a tunnel on a stream: DATA both ways."""

    __slots__ = ("_is_shut", "_stream")

    def __init__(self, stream: ResponseStream) -> None:
        self._stream = stream
        self._is_shut = False

    def read(self, limit: int) -> bytes:
        """Return at most `limit` bytes; b"" once the backend has ended its direction. Raises ConnectionError."""
        try:
            return self._stream.read(limit)
        except BadMessage as error:
            if self._is_shut:
                return b""
            raise ConnectionError(error.detail) from None

    def send(self, data: bytes) -> None:
        """Send all data, as the backend's windows open. Raises ConnectionError."""
        try:
            self._stream.send(data)
        except BadMessage as error:
            raise ConnectionError(error.detail) from None

    def shut_writing(self) -> None:
        """End the sending direction."""
        if not self._stream.is_closed:
            self._stream.finish()

    def shut(self) -> None:
        """End both directions; a greenlet that reads sees the end."""
        self._is_shut = True
        self._stream.shut()
