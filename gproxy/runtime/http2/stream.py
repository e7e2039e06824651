"""One stream of an HTTP/2 connection, for both sides: what has arrived, what is to be sent, who waits for either."""

from typing import Final

import gevent
from greenlet import getcurrent

from gproxy.http.buffers import NO_BUFFERS, Buffers
from gproxy.http.framing import PIECE
from gproxy.http.h2.events import DataReceived, Event, StreamMalformed, StreamReset, TrailersReceived
from gproxy.http.h2.frames import CANCEL
from gproxy.http.h2.session import Session
from gproxy.http.h2.stream import Stream
from gproxy.runtime.http2.outbox import Outbox
from gproxy.runtime.http2.transport import HTTP2Transport
from gproxy.runtime.waitable import Waitable

#: Pieces are joined up to so many bytes: an object for each byte of a window would take forty times its memory.
_SMALL: Final = 1024
#: Bytes that are discarded at once.
_DISCARDED: Final = 64 * 1024
_NO_TRAILERS: Final[list[tuple[str, str]]] = []


class HTTP2Stream(Waitable):
    """A stream as its greenlet uses it. The greenlet of the connection calls `on_event`, which never waits.

    A subclass says by `end_error` what the end of the stream means, and by `await_turn` how long a sender waits.
    """

    __slots__ = (
        "_outbox", "_pieces", "buffers", "fault", "has_ended", "reset_code", "send_ahead_limit", "session", "stream",
        "trailers", "transport",
    )  # fmt: skip

    def __init__(self, transport: HTTP2Transport, stream: Stream, buffers: Buffers = NO_BUFFERS) -> None:
        super().__init__(transport.hub)
        self.transport = transport
        self.session: Session = transport.session
        self.stream = stream
        stream.owner = self
        #: The bytes that the process keeps for slow peers, and how many of them this stream may keep.
        self.buffers = buffers
        self.send_ahead_limit = 0
        #: True once the peer has sent the end of its message, and the trailers before it.
        self.has_ended = False
        self.trailers = _NO_TRAILERS
        #: The code of the peer's reset; negative without one.
        self.reset_code = -1
        #: What is malformed in the peer's message; empty if nothing is.
        self.fault = ""
        #: PERF: a list, which most streams leave empty; the window bounds it.
        self._pieces: list[bytes] = []
        self._outbox: Outbox | None = None

    def on_event(self, event: Event) -> None:
        """Take an event of the session, and wake who waits for it."""
        if isinstance(event, DataReceived):
            if event.data:
                self._keep(event.data)
            if event.ended:
                self.has_ended = True
        elif isinstance(event, TrailersReceived):
            self.trailers = event.pairs
            self.has_ended = True
        elif isinstance(event, StreamReset):
            self.reset_code = event.code
            self._break_off()
        elif isinstance(event, StreamMalformed):
            self.fault = event.detail
            self._break_off()
        else:
            return
        self.notify()

    def _keep(self, data: bytes) -> None:
        """Keep a piece until it is read."""
        pieces = self._pieces
        if pieces and len(pieces[-1]) + len(data) <= _SMALL:
            pieces[-1] += data
        else:
            pieces.append(data)

    def _break_off(self) -> None:
        """End a stream that was reset; a request that was complete before stays (RFC 9113 section 8.1)."""
        if not self.has_ended:
            self._pieces.clear()
        self.end()

    def end(self) -> None:
        """Mark the stream as over: it was reset, or the connection is lost."""
        self.is_closed = True
        if self._outbox is not None:
            self.transport.forget(self._outbox)

    def end_error(self) -> BaseException:
        """Return the exception for a stream that the peer has ended."""
        return ConnectionError(self.fault or "the stream was reset")

    def has_unread(self) -> bool:
        """Return whether bytes have arrived that were not read."""
        return bool(self._pieces)

    @property
    def is_complete(self) -> bool:
        """True if the peer's message has ended and was read."""
        return self.has_ended and not self._pieces

    def read(self, limit: int) -> bytes:
        """Return received bytes, at most `limit`; wait for them. b"" at the end of the message.

        Raises `end_error` if the stream is over before.
        """
        while not self._pieces:
            if self.has_ended:
                return b""
            if self.is_closed:
                raise self.end_error()
            self.has_event = False
            self.wait()
        return self.take(limit)

    def take(self, limit: int) -> bytes:
        """Return received bytes without waiting, at most `limit`; return their size to the windows."""
        pieces = self._pieces
        if not pieces:
            return b""
        data = pieces[0]
        if len(data) > limit:
            data, pieces[0] = data[:limit], data[limit:]
        elif len(pieces) == 1:
            pieces.clear()
        else:
            data = self._gather(limit)
        if not pieces:
            self.has_event = self.is_closed
        session = self.session
        session.consumed(self.stream, len(data))
        if session.has_output:
            self.transport.flush_soon()
        return data

    def _gather(self, limit: int) -> bytes:
        """Take as many pieces as the limit admits, as one."""
        pieces, size, count = self._pieces, 0, 0
        for piece in pieces:
            size += len(piece)
            if size > limit:
                break
            count += 1
        data = b"".join(pieces[:count])
        del pieces[:count]
        return data

    def send(self, data: bytes | memoryview, *, end: bool = False) -> None:
        """Send a piece, with `end` the last one; wait for turns and windows until it is taken or may be kept.

        Raises `end_error` if the stream is over, and what the waiting raises.
        """
        if self.is_closed:
            raise self.end_error()
        outbox = self._outbox
        if outbox is None or not outbox.is_waiting:
            session, stream = self.session, self.stream
            if self.transport.may_append(stream, len(data)) and len(data) <= session.sendable(stream):
                session.send_data(stream, data, end=end)
                self.transport.appended()
                return
        outbox = self.offer(data, end=end)
        limit, buffers = self.send_ahead_limit, self.buffers
        if not end and outbox.kept < limit and buffers.has_room:
            return
        self._await_sent(outbox, 1 if end else limit)

    def offer(self, data: bytes | memoryview, *, end: bool = False) -> Outbox:
        """Let a piece wait for its turn without waiting for it; return what knows how much was taken."""
        outbox = self._outbox
        if outbox is None:
            outbox = self._outbox = Outbox(self.session, self.stream, self.buffers)
        if data:
            outbox.keep(data)
        if end:
            outbox.ends = True
        self.transport.enqueue(outbox)
        return outbox

    def finish(self, trailers: list[tuple[str, str]] = _NO_TRAILERS) -> None:
        """Send the trailers, and the end of the message; wait until all was taken. Raises as `send`."""
        if self.is_closed:
            raise self.end_error()
        outbox = self._outbox
        if outbox is not None and outbox.is_waiting:
            outbox.ends = not trailers
            self._await_sent(outbox, 1)
        if trailers:
            self.session.send_trailers(self.stream, trailers)
        else:
            self.session.send_data(self.stream, b"", end=True)  # does nothing if the last piece has taken the end along
        self.transport.flush_soon()

    def flush(self) -> None:
        """Wait until all pieces that are kept were taken. Raises as `send`."""
        if self._outbox is not None and self._outbox.is_waiting:
            self._await_sent(self._outbox, 1)

    def await_head(self, size: int = 0) -> None:
        """Wait until the connection has room for a head, which needs no window. Raises as `send`.

        `size` is that of the content that waits behind it.
        """
        if self.transport.may_append(self.stream):
            return
        outbox = self.offer(b"")
        outbox.wants_room = True
        self.buffers.add(size)
        try:
            self._await_sent(outbox, 1)
        finally:
            self.buffers.remove(size)

    def _await_sent(self, outbox: Outbox, limit: int) -> None:
        """Wait until fewer bytes than `limit` are kept, or none if the process has no room for them."""
        while not self.is_closed and not outbox.is_empty:
            if 0 < outbox.kept < limit and self.buffers.has_room:
                return
            outbox.sender = getcurrent()
            outbox.enough = limit
            try:
                self.await_turn(outbox)
            finally:
                outbox.sender = None
        if self.is_closed:
            raise self.end_error()

    def await_turn(self, outbox: Outbox) -> None:  # noqa: ARG002 a subclass measures what was taken
        """Wait until the transport has taken something of the outbox, or the stream is over."""
        self._switch()

    def drop(self) -> int:
        """Forget the pieces that wait. Return the number of all bytes that were forgotten."""
        outbox = self._outbox
        if outbox is None:
            return 0
        self.transport.forget(outbox)
        return outbox.dropped

    def reset(self, code: int = CANCEL) -> None:
        """Send RST_STREAM unless the stream is over already; nothing more is sent."""
        self.drop()
        if not self.is_closed:
            self.is_closed = True
            self.session.reset(self.stream, code)
            self.transport.flush_soon()
            self.notify()  # another greenlet may read, such as that of an upload or a tunnel

    def linger(self, seconds: float) -> None:
        """Read and discard for so long, or to the end of the peer's message: unread bytes keep window from others."""
        if self._reader is not None:  # a handler's greenlet
            return
        with gevent.Timeout(seconds, False):
            while not (self.has_ended or self.is_closed):
                while self.take(_DISCARDED):
                    pass
                self.has_event = False
                self.wait()

    def release(self) -> None:
        """End the use of the stream: what was not read returns its size to the connection's window."""
        self.drop()
        self._pieces.clear()
        self.session.ended(self.stream)
        self.stream.owner = None
        if self.session.has_output:
            self.transport.flush_soon()


class StreamReader:
    """The reader of a message's body: DATA until the end of the stream, then the trailers."""

    __slots__ = ("_stream", "done", "trailers")

    def __init__(self, stream: HTTP2Stream) -> None:
        self._stream = stream
        self.done = False
        self.trailers = _NO_TRAILERS

    def next_piece(self) -> bytes:
        """Return the next bytes of the body; b"" at its end. Raises what `read` of the stream raises."""
        return b"" if self.done else self._passed(self._stream.read(PIECE))

    def arrived(self) -> bytes:
        """Return the bytes that have arrived already."""
        return self._passed(self._stream.take(PIECE))

    def _passed(self, data: bytes) -> bytes:
        """Note whether these were the last bytes; return them."""
        stream = self._stream
        if stream.is_complete:
            self.done = True
            self.trailers = stream.trailers
        return data
