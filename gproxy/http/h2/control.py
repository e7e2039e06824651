"""Frames that govern streams and the connection: all but HEADERS, CONTINUATION and DATA."""

from collections.abc import Callable
from typing import Final

from gproxy.http.buffers import Buffers
from gproxy.http.errors import NO_LINE
from gproxy.http.h2 import frames
from gproxy.http.h2.events import (
    DataReceived,
    Event,
    GoAwayReceived,
    PingAcknowledged,
    SettingsReceived,
    StreamMalformed,
    StreamReset,
    WindowOpened,
)
from gproxy.http.h2.frames import (
    ACK,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    MAX_STREAM_ID,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    SETTINGS_ACK,
    STREAM_CLOSED,
    word,
)
from gproxy.http.h2.sender import CLIENT, SERVER, Sender
from gproxy.http.h2.settings import SessionFault, SessionOptions
from gproxy.http.h2.stream import RECEIVED_END, Stream

#: Priorities that are kept for streams which the client has not opened yet, and most of their bytes.
_EARLY_PRIORITIES: Final = 32
_EARLY_PRIORITY: Final = 128
_PING_SIZE: Final = 8
#: Bytes of a PRIORITY frame, and of the priority within HEADERS.
PRIORITY_SIZE: Final = 5


class ControlReceiver(Sender):
    """The part of a session that receives what governs streams and the connection.

    A fault of the peer ends either one stream (`_fault`), or the session: SessionFault is raised.
    """

    __slots__ = ("_abandoned", "_early_priorities", "_events", "_is_acknowledged", "last_id")

    def __init__(self, role: int, options: SessionOptions, clock: Callable[[], float], buffers: Buffers) -> None:
        super().__init__(role, options, clock, buffers)
        #: The highest id of a stream that the client has used.
        self.last_id = 0
        #: True once the peer has acknowledged our SETTINGS.
        self._is_acknowledged = False
        self._early_priorities: dict[int, str] = {}
        #: The streams that the client has reset in the middle of its message, in their order.
        self._abandoned: dict[int, None] = {}
        self._events: list[Event] = []

    def _on_reset(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise SessionFault(FRAME_SIZE_ERROR, f"RST_STREAM of {len(payload)} bytes")
        stream = self.streams.get(stream_id)
        if stream is None:
            if self._is_idle(stream_id):
                raise SessionFault(PROTOCOL_ERROR, f"RST_STREAM on idle stream {stream_id}")
            if stream_id not in self._resets and not self._budget.late_reset():
                raise SessionFault(ENHANCE_YOUR_CALM, "too many late RST_STREAM frames")
            return
        code = word(payload)
        if self.role == CLIENT:
            if code == NO_ERROR:
                self._end_by_length(stream)
        elif stream.may_receive:
            self._abandon(stream_id)
        self._close(stream)
        self._events.append(StreamReset(stream, code))
        if self.role == SERVER and not stream.has_sent_head:
            self._spend("streams reset early")

    def _abandon(self, stream_id: int) -> None:
        """Remember a stream whose client may yet send what it had queued before it gave up."""
        if len(self._abandoned) >= self._most_resets:
            del self._abandoned[next(iter(self._abandoned))]
        self._abandoned[stream_id] = None

    def _end_by_length(self, stream: Stream) -> None:
        """Take a response whose Content-Length is there for complete, though RST_STREAM came in place of its end.

        Node.js sends the reset first if both wait for their turn.
        """
        if stream.may_receive and stream.has_head and not stream.owed:
            stream.move(RECEIVED_END)
            self._events.append(DataReceived(stream, stream.held, True))

    def _on_window_update(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise SessionFault(FRAME_SIZE_ERROR, f"WINDOW_UPDATE of {len(payload)} bytes")
        if not self._budget.window_update():
            raise SessionFault(ENHANCE_YOUR_CALM, "too many WINDOW_UPDATE frames")
        increment = word(payload) & MAX_STREAM_ID
        stream = self.streams.get(stream_id)
        if not stream_id:
            self._open_connection_window(increment)
        elif stream is not None:
            self._open_window(stream, increment)
        elif self._is_idle(stream_id):
            raise SessionFault(PROTOCOL_ERROR, f"WINDOW_UPDATE on idle stream {stream_id}")

    def _open_connection_window(self, increment: int) -> None:
        was_shut = self._windows.send_window <= 0
        if not increment:
            raise SessionFault(PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
        if not self._windows.open(increment):
            raise SessionFault(FLOW_CONTROL_ERROR, "the window of the connection is above 2^31-1")
        if was_shut and self._windows.send_window > 0:
            self._events.append(WindowOpened(None))

    def _open_window(self, stream: Stream, increment: int) -> None:
        was_shut = stream.send_window <= 0
        if not increment:
            self._fault(stream, PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
        elif not stream.open(increment):
            self._fault(stream, FLOW_CONTROL_ERROR, "the window is above 2^31-1")
        elif was_shut and stream.send_window > 0:
            self._events.append(WindowOpened(stream))

    def _on_priority(self, stream_id: int, payload: bytes) -> None:
        """Ignore a priority of RFC 7540, but check and count it."""
        stream = self.streams.get(stream_id)
        if not stream_id:
            raise SessionFault(PROTOCOL_ERROR, "PRIORITY on stream 0")
        self._spend("PRIORITY frames")
        if len(payload) != PRIORITY_SIZE:
            if stream is None:
                raise SessionFault(FRAME_SIZE_ERROR, f"PRIORITY of {len(payload)} bytes")
            self._fault(stream, FRAME_SIZE_ERROR, f"PRIORITY of {len(payload)} bytes")
        elif word(payload) & MAX_STREAM_ID == stream_id:
            if stream is None:
                raise SessionFault(PROTOCOL_ERROR, "PRIORITY: a stream depends on itself")
            self._fault(stream, PROTOCOL_ERROR, "PRIORITY: a stream depends on itself")

    def _on_priority_update(self, payload: bytes) -> None:
        """Take over the priority of a request, or keep it for one that will come (RFC 9218 section 7.1)."""
        self._spend("PRIORITY_UPDATE frames")
        if len(payload) < 4:
            raise SessionFault(FRAME_SIZE_ERROR, f"PRIORITY_UPDATE of {len(payload)} bytes")
        stream_id = word(payload) & MAX_STREAM_ID
        if self.role == CLIENT or not stream_id & 1:
            raise SessionFault(PROTOCOL_ERROR, f"PRIORITY_UPDATE for stream {stream_id}")
        value = payload[4 : 4 + _EARLY_PRIORITY].decode("latin-1")
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.prioritize(value)
        elif self._is_idle(stream_id):
            if len(self._early_priorities) >= _EARLY_PRIORITIES:
                del self._early_priorities[next(iter(self._early_priorities))]
            self._early_priorities[stream_id] = value

    def _is_idle(self, stream_id: int) -> bool:
        """Return whether a stream that is not open was never used; all others are closed."""
        if self.role == SERVER:
            return not stream_id & 1 or stream_id > self.last_id
        return not stream_id & 1 or stream_id >= self._next_id

    def _on_closed(self, stream_id: int, kind: str) -> None:
        """Judge DATA or HEADERS for a stream that is not open (section 5.1).

        After our own RST_STREAM they are no fault: they were sent before the peer knew. Up to the highest id that was
        reset and forgotten, any stream may be such a one. A backend that has ended the stream itself pays a token: the
        connection has the requests of many clients. After a client's RST_STREAM they are a fault of the stream.
        """
        if self._is_idle(stream_id):
            raise SessionFault(PROTOCOL_ERROR, f"{kind} on idle stream {stream_id}")
        if stream_id in self._resets or stream_id <= self._forgotten:
            return
        if self.role == CLIENT:
            self._spend(f"{kind} on closed streams")
        elif stream_id in self._abandoned:
            del self._abandoned[stream_id]
            self._send_reset(stream_id, STREAM_CLOSED)
        else:
            raise SessionFault(STREAM_CLOSED, f"{kind} on closed stream {stream_id}")

    def _on_late_block(self, stream_id: int) -> None:
        """Ignore a head and trailers that cross our RST_STREAM; further ones of a client cost tokens."""
        self._on_closed(stream_id, "HEADERS")
        if self._resets.get(stream_id):
            self._resets[stream_id] -= 1
        elif self.role == SERVER:
            self._spend("HEADERS for reset streams")

    def _fault(self, stream: Stream, code: int, detail: str, line: tuple[str, str, str] = NO_LINE) -> None:
        """End a stream for a fault of the peer.

        A backend pays nothing: each of these streams was a request of ours, and one client that knows how to get
        malformed responses must not end the connection for all others.
        """
        self._send_reset(stream.id, code)
        self._close(stream)
        self._events.append(StreamMalformed(stream, code, detail, line))
        if self.role == SERVER:
            self._spend("faulty streams")

    def _on_settings(self, flags: int, payload: bytes) -> None:
        if flags & ACK:
            if payload:
                raise SessionFault(FRAME_SIZE_ERROR, "an ACK of SETTINGS with settings")
            if self._is_acknowledged:
                self._spend("ACKs of SETTINGS")
            self._is_acknowledged = True
            return
        if self.has_settings:
            self._spend("SETTINGS frames")
        window, table = self.peer.initial_window, self.peer.table
        self.peer.apply(payload, is_first=not self.has_settings)
        self.has_settings = True
        self._resize_table(table)
        self._change_windows(self.peer.initial_window - window)
        self._append_control(SETTINGS_ACK)
        self._events.append(SettingsReceived())

    def _resize_table(self, before: int) -> None:
        if self.peer.smallest_table < min(before, self.peer.table):
            self._encoder.resize(self.peer.smallest_table)
            before = self.peer.smallest_table
        if self.peer.table != before:
            self._encoder.resize(self.peer.table)

    def _change_windows(self, change: int) -> None:
        """Move the windows of all streams by a change of the initial one; they may become negative (6.9.2)."""
        for stream in self.streams.values() if change else ():
            was_shut = stream.send_window <= 0
            if not stream.open(change):
                raise SessionFault(FLOW_CONTROL_ERROR, f"SETTINGS: the window of stream {stream.id} is above 2^31-1")
            if was_shut and stream.send_window > 0:
                self._events.append(WindowOpened(stream))

    def _on_ping(self, flags: int, payload: bytes) -> None:
        if len(payload) != _PING_SIZE:
            raise SessionFault(FRAME_SIZE_ERROR, f"PING of {len(payload)} bytes")
        if flags & ACK:
            if not self._pings_sent:
                self._spend("ACKs of PING")
                return
            self._pings_sent -= 1
            self._events.append(PingAcknowledged(payload))
            return
        if not self._budget.ping():
            raise SessionFault(ENHANCE_YOUR_CALM, "too many PING frames")
        self._append_control(frames.ping(payload, ack=True))

    def _on_go_away(self, payload: bytes) -> None:
        if len(payload) < 8:
            raise SessionFault(FRAME_SIZE_ERROR, f"GOAWAY of {len(payload)} bytes")
        self._spend("GOAWAY frames")
        last_id = word(payload) & MAX_STREAM_ID
        self._events.append(GoAwayReceived(last_id, word(payload, 4), payload[8:]))
        self.peer_is_going_away, self.peer_last_id = True, last_id
        if self.role == CLIENT:
            for stream in [one for one in self.streams.values() if one.id > last_id]:
                self._close(stream)
                self._events.append(StreamReset(stream, REFUSED_STREAM))

    def _spend(self, what: str) -> None:
        if not self._budget.spend():
            raise SessionFault(ENHANCE_YOUR_CALM, f"the budget is spent; the last token went for {what}")
