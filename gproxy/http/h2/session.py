"""A session: HTTP/2 without a socket. Bytes of the peer become events, and what its user wants becomes frames.

One class has both roles, since nearly all of RFC 9113 holds for both. Its parts are its base classes: `Sender` has what
is sent, `ControlReceiver` the frames that govern streams and the connection, `MessageReceiver` heads and content.

A fault of the peer ends either one stream (RST_STREAM, StreamMalformed) or the session (GOAWAY, SessionFailed). What a
peer may have sent before it knew that a stream is closed is no fault.
"""

from collections.abc import Callable
from time import monotonic
from typing import Final

from gproxy.http.buffers import NO_BUFFERS, Buffers
from gproxy.http.field_names import FieldNames
from gproxy.http.h2 import frames
from gproxy.http.h2.events import Event, SessionFailed
from gproxy.http.h2.frames import (
    ACK,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    ENHANCE_YOUR_CALM,
    FRAME_NAMES,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    MAX_FRAME,
    PING,
    PREFACE,
    PRIORITY,
    PRIORITY_UPDATE,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)
from gproxy.http.h2.hpack_decoder import HPACKError
from gproxy.http.h2.messages import MessageReceiver
from gproxy.http.h2.sender import CLIENT, SERVER
from gproxy.http.h2.settings import SessionFault, SessionOptions

__all__ = ["CLIENT", "SERVER", "Session", "SessionOptions"]

_HEAD: Final = frames.HEAD
#: The place of the type in a frame's head.
_KIND: Final = 3
#: Control frames in the output: a peer that causes more of them does not read.
MOST_UNSENT: Final = 1000


class Session(MessageReceiver):
    """An HTTP/2 connection, as a server or as a client. Content that is unread counts in `buffers`."""

    __slots__ = ("_has_preface", "_rest", "failure")

    def __init__(
        self,
        role: int,
        options: SessionOptions,
        names: FieldNames,
        clock: Callable[[], float] = monotonic,
        buffers: Buffers = NO_BUFFERS,
    ) -> None:
        super().__init__(role, options, names, clock, buffers)
        #: The event that ended the session, else None.
        self.failure: SessionFailed | None = None
        #: Bytes of a frame that is not complete.
        self._rest = b""
        self._has_preface = role == CLIENT

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes of the peer; return what they mean, in their order. Never raises for what a peer sends.

        Feed at most 64 KiB at once, then let others run: the time of this call depends on its bytes alone.
        """
        if self.failure is None:
            try:
                self._receive(self._rest + data if self._rest else data)
            except SessionFault as fault:
                self._fail(fault.code, fault.detail)
            except HPACKError as error:
                self._fail(COMPRESSION_ERROR, str(error))
        events = self._events
        self._events = []
        return events

    def _receive(self, data: bytes) -> None:
        position = 0
        end = len(data)
        if not self._has_preface:
            if not self._read_preface(data):
                self._rest = data
                return
            position = len(PREFACE)
        while end - position >= _HEAD:
            length = data[position] << 16 | data[position + 1] << 8 | data[position + 2]
            if length > MAX_FRAME:
                raise SessionFault(FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            begin = position + _HEAD
            if end - begin < length:
                break
            stream_id = (data[position + 5] & 0x7F) << 24 | data[position + 6] << 16
            stream_id |= data[position + 7] << 8 | data[position + 8]
            kind = data[position + 3]
            flags = data[position + 4]
            position = begin + length
            payload = data[begin:position]
            if self._block is not None or not self.has_settings:
                self._check_order(kind, flags, stream_id)
            if kind == HEADERS:
                self._on_headers(stream_id, flags, payload)
            elif kind == DATA:
                self._on_data(stream_id, flags, payload)
            else:
                self._on_other(kind, flags, stream_id, payload)
            if self.unsent_control > MOST_UNSENT:
                raise SessionFault(ENHANCE_YOUR_CALM, "too many control frames are unsent")
        self._keep(data[position:])

    def _keep(self, rest: bytes) -> None:
        """Keep what has come of the next frame, and note when this is the beginning of a head."""
        self._rest = rest
        if len(rest) > _KIND and rest[_KIND] == HEADERS and not self.block_since:
            self.block_since = self.clock()

    def _read_preface(self, data: bytes) -> bool:
        """Return whether the preface is complete (section 3.4)."""
        if not PREFACE.startswith(data[: len(PREFACE)]):
            raise SessionFault(PROTOCOL_ERROR, "no HTTP/2 preface at the beginning")
        self._has_preface = len(data) >= len(PREFACE)
        return self._has_preface

    def _check_order(self, kind: int, flags: int, stream_id: int) -> None:
        """Check a frame before which another one is due: the first SETTINGS, or the rest of a block (section 6.10)."""
        if not self.has_settings:
            if kind != SETTINGS or flags & ACK:
                raise SessionFault(PROTOCOL_ERROR, "the first frame is not SETTINGS")
        elif self._block is not None and (kind != CONTINUATION or stream_id != self._block.stream_id):
            raise SessionFault(PROTOCOL_ERROR, f"{_name(kind)} within a field block")

    def _on_other(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Dispatch the less frequent frames."""
        if kind == WINDOW_UPDATE:
            self._on_window_update(stream_id, payload)
        elif kind == RST_STREAM:
            self._on_reset(stream_id, payload)
        elif kind == CONTINUATION:
            self._on_continuation(flags, payload)
        elif kind == PRIORITY:
            self._on_priority(stream_id, payload)
        elif kind == PUSH_PROMISE:
            raise SessionFault(PROTOCOL_ERROR, "PUSH_PROMISE, but push is off")
        elif SETTINGS <= kind <= GOAWAY or kind == PRIORITY_UPDATE:
            if stream_id:
                raise SessionFault(PROTOCOL_ERROR, f"{_name(kind)} on a stream")
            self._on_connection_frame(kind, flags, payload)
        else:
            self._spend("unknown frames")

    def _on_connection_frame(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == SETTINGS:
            self._on_settings(flags, payload)
        elif kind == PING:
            self._on_ping(flags, payload)
        elif kind == GOAWAY:
            self._on_go_away(payload)
        else:
            self._on_priority_update(payload)

    def _fail(self, code: int, detail: str) -> None:
        """End the session: GOAWAY into the output, and the last event."""
        self.is_going_away = True
        self._rest = b""
        self._block = None
        self._append(frames.goaway(self.accepted_id, code))
        self.failure = SessionFailed(code, detail)
        self._events.append(self.failure)


def _name(kind: int) -> str:
    return FRAME_NAMES.get(kind) or f"a frame of type {kind}"
