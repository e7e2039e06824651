"""The client of one request over HTTP/2: a stream with the time limits of a slow client, and interim responses."""

from typing import Final

from greenlet import getcurrent

from gproxy.http.body import Body
from gproxy.http.client_stream import InterimResponse, Readable
from gproxy.http.deadline import Deadline
from gproxy.http.errors import BadMessage, ClientGone, HTTPError
from gproxy.http.h2.fields import RequestHead
from gproxy.http.h2.stream import Stream
from gproxy.http.headers import Headers
from gproxy.http.request import Request
from gproxy.runtime.http2.outbox import Outbox
from gproxy.runtime.http2.stream import HTTP2Stream
from gproxy.runtime.http2.transport import MAX_UNSENT, HTTP2Transport
from gproxy.runtime.waitable import Waitable, as_waitable
from gproxy.server.client_channel import ChannelSettings
from gproxy.server.client_pace import ClientPace

_NO_FIELDS: Final = Headers()


class HTTP2ClientStream(HTTP2Stream):
    """A stream of a client; implements ClientStream as a ClientChannel does for a whole connection.

    `pace` has the alarm of the greenlet that serves the request. `head` is the request's, or None for one that is
    rejected because of `error`; `started` is when it came, on the monotonic clock, and `ended` says whether it is all.
    """

    __slots__ = (
        "_awaited", "_id_key", "_last_byte", "_received", "_taken", "deadline", "error", "head", "pace", "request",
        "started", "upload_peer",
    )  # fmt: skip

    def __init__(
        self,
        transport: HTTP2Transport,
        stream: Stream,
        pace: ClientPace,
        settings: ChannelSettings,
        head: RequestHead | None,
        error: BadMessage | None,
        started: float,
        *,
        ended: bool,
    ) -> None:
        super().__init__(transport, stream, settings.buffers)
        self.pace = pace
        self.head = head
        self.error = error
        self.started = started
        self.has_ended = ended
        #: Only the gateway sets the id of an exchange.
        self._id_key = settings.id_key
        #: Bytes of the body read since the last wait for one.
        self._received = 0
        #: What the sender waits for, and how much of it the transport had taken when the stream was last measured.
        self._awaited: Outbox | None = None
        self._taken = -1
        #: The position of the stream's last byte among all bytes of the connection, or one soon behind it.
        self._last_byte = 0
        #: Deadline of the request; None for a tunnel.
        self.deadline: Deadline | None = None
        #: The request, for its phase.
        self.request: Request | None = None
        #: A backend that may answer during the upload, which makes waiting for the client pointless.
        self.upload_peer: Waitable | None = None

    def end_error(self) -> BaseException:
        """Return ClientGone, or the error of a request that has turned out to be malformed."""
        return HTTPError(400, self.fault) if self.fault else ClientGone()

    def in_own_greenlet(self) -> bool:
        """Return whether the greenlet that serves the request calls; the alarm reaches no other one."""
        return getcurrent() is self.pace.alarm.greenlet

    def interrupt_reads(self, peer: Readable | None) -> None:
        """Raise Interrupted in reads once `peer`, a backend that answers during the upload, is readable."""
        self.upload_peer = as_waitable(peer)

    def read_ahead(self, limit: int) -> None:
        """Keep up to so many bytes of the response while the client reads slowly."""
        self.send_ahead_limit = limit

    def piece(self, size: int) -> int:
        """Return how much of a response to read at once: a connection may keep a piece for each of its streams."""
        return self.buffers.piece(size)

    def start_tunnel(self) -> None:
        """End the deadline: from here on bytes go both ways, under an idle limit."""
        self.deadline = None

    def read(self, limit: int) -> bytes:
        """Return body bytes, at most `limit`; wait for them under the body timeout."""
        while not self.has_unread():
            if self.is_closed:
                raise self.end_error()
            if self.has_ended:
                return b""
            self.has_event = False
            deadline = self.deadline
            if deadline is None or not self.in_own_greenlet():  # a tunnel, or an upload beside its response
                self.wait()
            else:
                received, self._received = self._received, 0
                self.pace.await_upload(self, deadline, self.request, received, self.upload_peer)
        data = self.take(limit)
        self._received += len(data)
        return data

    def await_turn(self, outbox: Outbox) -> None:
        """Wait until the transport has taken what the sender waits for, as long as the client takes enough."""
        self._awaited = outbox
        self.pace.await_room(self, self.deadline)

    def unsent(self) -> int:
        """Return a number that falls as the transport takes bytes of the response, and the client's system takes them.

        The kernel has room again only after the client has taken a lot, and the window may be as large: until then the
        client's progress shows only here. Bytes of other streams count while the stream waits for its turn; without a
        window they do not.
        """
        outbox, transport = self._awaited, self.transport
        if outbox is None:
            return 0
        if outbox.taken != self._taken or self.session.sendable(self.stream) > 0:
            self._taken, self._last_byte = outbox.taken, transport.appended_so_far
        return outbox.kept - min(transport.taken_so_far(), self._last_byte)

    def await_room(self) -> None:
        """Wait until the transport has taken something, without a limit."""
        self._switch()

    def shut_writing(self) -> None:
        """End the response: the client sees that no more comes."""
        if not self.is_closed:
            self.finish()

    def shut(self) -> None:
        """End both directions."""
        self.reset()

    def send_continue(self) -> None:
        """Send a 100 response (RFC 9110 section 15.2.1)."""
        if not self.is_closed:
            self.session.respond(self.stream, 100, _NO_FIELDS, end=False)
            self.transport.flush_soon()

    def send_interim(self, answer: InterimResponse, body: Body) -> None:
        """Forward a backend's 1xx; a 100 only to a client that waits for it (RFC 9110 section 15.2).

        A client that does not read gets none: their number is unlimited, and nothing waits for it to take them.
        """
        if answer.status == 100:
            if body.on_first_read is not None:
                body.on_first_read = None
                self.send_continue()
            return
        if self.is_closed or self.transport.backlog >= MAX_UNSENT:
            return
        headers = answer.headers.copy()
        headers.discard("content-length")  # a 1xx has no framing (RFC 9110 section 8.6)
        headers.discard(self._id_key)
        self.session.respond(self.stream, answer.status, headers, end=False)
        self.transport.flush_soon()
