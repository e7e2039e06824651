"""A channel and a session: how the streams of one HTTP/2 connection share its socket, for both sides.

What all streams append in one turn of the loop leaves in one send. A piece of a body that finds no room waits for its
turn, in the order of RFC 9218: the lowest urgency first; within one urgency the streams that are not incremental, each
to its end in order of the ids; then one frame of each incremental one in rotation.
"""

from collections.abc import Callable
from typing import Any, Final

import gevent
from greenlet import getcurrent, greenlet

from gproxy.http.errors import ClientGone
from gproxy.http.h2.events import Event
from gproxy.http.h2.frames import DATA_PIECE
from gproxy.http.h2.session import Session
from gproxy.http.h2.stream import Stream
from gproxy.runtime.channel import Channel
from gproxy.runtime.http2.outbox import Outbox

#: Bytes of one read, which are parsed before the loop goes on.
_READ: Final = 64 * 1024
#: Bytes of waiting pieces in one send: a few TLS records, after which a more urgent stream may come first.
_SEND: Final = 64 * 1024
#: Streams append no more while the kernel has not taken so many bytes.
MAX_UNSENT: Final = 256 * 1024
#: Sends in one turn of the loop; other connections come then.
_SENDS: Final = 4
#: After so many sends without it, a waiting stream gets one frame whatever its place: no stream starves.
_PATIENCE: Final = 8


class HTTP2Transport:
    """The reading and the sending of one HTTP/2 connection; its owner calls `read` in one greenlet."""

    __slots__ = (
        "_flusher", "_is_scheduled", "_on_turn", "_sends", "_sent", "_unsent", "_waiting", "_watcher", "channel", "hub",
        "is_lost", "session",
    )  # fmt: skip

    def __init__(self, channel: Channel, session: Session) -> None:
        self.channel = channel
        self.session = session
        self.hub = gevent.get_hub()
        #: True once the connection has failed: nothing is sent any more.
        self.is_lost = False
        self._on_turn: Callable[[], None] = self._turn  # PERF: one bound method for all turns
        self._is_scheduled = False
        #: What the kernel has not taken of the last send, and the watcher that waits for the kernel.
        self._unsent: bytes | memoryview = b""
        self._watcher: Any = None
        #: The bytes that the kernel has taken so far.
        self._sent = 0
        #: What waits for a turn or for a window.
        self._waiting: list[Outbox] = []
        #: The number of sends with waiting pieces so far.
        self._sends = 0
        #: The greenlet that waits until all is sent.
        self._flusher: greenlet | None = None

    @property
    def backlog(self) -> int:
        """The bytes that streams have appended and the kernel has not taken."""
        return self.session.unsent + len(self._unsent)

    @property
    def appended_so_far(self) -> int:
        """The number of bytes that were ever appended."""
        return self._sent + self.backlog

    def taken_so_far(self) -> int:
        """Return how many bytes the peer's system has taken. Over TLS the kernel has more: this is too low by a bit."""
        return self._sent - self.channel.in_kernel()

    def read(self) -> list[Event] | None:
        """Wait for bytes, at most 64 KiB; return their events, or None at the peer's end.

        Raises the channel's `reset_error`, and what an alarm throws.
        """
        channel = self.channel
        data = channel.buffer
        if data:
            channel.buffer = b""
        else:
            if channel.has_event:  # more of what TLS has decrypted: the loop runs between two reads
                gevent.sleep(0)
            data = channel.receive(_READ)
            if not data:
                return None
        session = self.session
        events = session.receive(data)
        if session.has_output or self._waiting:  # a window may have opened
            self.flush_soon()
        return events

    def flush_soon(self) -> None:
        """Send all output in this turn of the loop, together with what other streams append."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self.hub.loop.run_callback(self._on_turn)

    def _turn(self) -> None:
        self._is_scheduled = False
        self.flush()

    def flush(self) -> None:
        """Send all output, and the waiting pieces in their order, as far as windows and the kernel have room."""
        if self._watcher is None and not self.is_lost:
            self._write()

    def _write(self) -> None:
        """Send until the kernel is full; the loop goes on then. After some sends, leave the rest to the next turn."""
        try:
            for _ in range(_SENDS):
                data = self._unsent or self._next_send()
                if not data:
                    self._stop_watching()
                    return
                sent = self.channel.send_now(data)
                self._sent += sent
                if sent < len(data):
                    self._unsent = memoryview(data)[sent:]
                    self._watch()
                    return
                self._unsent = b""
        except (OSError, ClientGone):
            self._fail()
            return
        if self._watcher is None:
            self.flush_soon()

    def _next_send(self) -> bytes | memoryview:
        """Return the session's output, with pieces of waiting streams behind it; b"" if there is none."""
        if self._waiting:
            self._fill()
        frames = self.session.take_output()
        if len(frames) == 1:
            return frames[0]
        return b"".join(frames)

    def _fill(self) -> None:
        """Let waiting streams append frames in their order, until one send is full or none can go on."""
        self._sends += 1
        while (room := _SEND - self.session.unsent) > 0:
            outbox = self._next()
            if outbox is None:
                return
            is_late = self._sends - outbox.last_turn >= _PATIENCE
            one_frame = is_late or outbox.stream.incremental
            outbox.append(min(room, DATA_PIECE) if one_frame else room)
            outbox.last_turn = self._sends
            if one_frame or outbox.is_empty:  # the next one of this urgency comes first
                self._waiting.remove(outbox)
                if outbox.is_empty:
                    outbox.is_waiting = False
                else:
                    self._waiting.append(outbox)

    def _next(self) -> Outbox | None:
        """Return what has the next turn, of all whose windows allow it."""
        best: Outbox | None = None
        for one in self._waiting:
            if not one.may_append():
                continue
            if self._sends - one.last_turn >= _PATIENCE:
                return one
            if best is None or _precedes(one.stream, best.stream):
                best = one
        return best

    def may_append(self, stream: Stream, size: int = 0) -> bool:
        """Return whether a stream may append so much at once: there is room, and no other one has to come first.

        While the kernel is full, long pieces wait, so that more urgent ones can overtake them.
        """
        if self.is_lost or size > MAX_UNSENT or self.session.unsent + len(self._unsent) >= MAX_UNSENT:
            return False
        if size > DATA_PIECE and self._unsent:
            return False
        for one in self._waiting:  # noqa: SIM110 PERF: compiled, `all` calls a generator
            if one.may_append() and not _precedes(stream, one.stream):
                return False
        return True

    def appended(self) -> None:
        """Send what a stream has appended to the session's output: soon, or now if that is a lot."""
        if self.session.unsent >= _SEND:
            self.flush()
        else:
            self.flush_soon()

    def enqueue(self, outbox: Outbox) -> None:
        """Let an outbox wait for its turn."""
        if not outbox.is_waiting:
            outbox.is_waiting = True
            outbox.last_turn = self._sends
            self._waiting.append(outbox)
        self.flush_soon()

    def forget(self, outbox: Outbox) -> None:
        """Drop what waits in an outbox: its stream sends no more."""
        if outbox.is_waiting:
            outbox.is_waiting = False
            self._waiting.remove(outbox)
        outbox.drop()

    def flush_all(self) -> None:
        """Wait until the kernel has taken all output, under the alarm of the greenlet that calls."""
        self.flush()
        while not self.is_lost and (self._unsent or self.session.has_output):
            self._flusher = getcurrent()
            try:
                self.hub.switch()
            finally:
                self._flusher = None

    def close(self) -> None:
        """Close the channel; the session's last frames are sent as far as the kernel has room."""
        self.flush()
        self.lose()
        self.channel.close()

    def lose(self) -> None:
        """Send nothing any more. This comes before the channel closes: libev aborts on a watcher of a closed socket."""
        self.is_lost = True
        self._unsent = b""
        self._on_turn = _nothing  # its own method would keep this object until the collector of cycles comes
        self._stop_watching()

    def _fail(self) -> None:
        """End the connection: its reader sees the end."""
        self.lose()
        self.channel.shut()

    def _watch(self) -> None:
        """Send the rest once the kernel has room."""
        if self._watcher is None:
            self._watcher = self.channel.write_watcher()
            self._watcher.start(self._write)

    def _stop_watching(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.stop()
            watcher.close()
        if self._flusher is not None:
            self.hub.loop.run_callback(self._wake_flusher)

    def _wake_flusher(self) -> None:
        if self._flusher is not None:
            self._flusher.switch()


def _precedes(one: Stream, other: Stream) -> bool:
    """Return whether the first stream is sent before the second one (RFC 9218 section 10)."""
    if one.urgency != other.urgency:
        return one.urgency < other.urgency
    if one.incremental or other.incremental:
        return other.incremental and not one.incremental
    return one.id < other.id


def _nothing() -> None:
    """Do nothing, in the place of a turn that was scheduled before the end of the connection."""
