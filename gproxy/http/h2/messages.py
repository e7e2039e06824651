"""Messages: field blocks in HEADERS and CONTINUATION frames, and content in DATA frames."""

from collections.abc import Callable
from typing import Final

from gproxy.http.buffers import Buffers
from gproxy.http.errors import BadMessage
from gproxy.http.field_names import FieldNames
from gproxy.http.h2.control import PRIORITY_SIZE, ControlReceiver
from gproxy.http.h2.events import DataReceived, HeadReceived, InterimReceived, StreamRejected, TrailersReceived
from gproxy.http.h2.fields import HeadLimits, Malformed, RequestHead, request_head, response_head, trailers
from gproxy.http.h2.frames import (
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    MAX_FRAME,
    MAX_STREAM_ID,
    PADDED,
    PRIORITY_FLAG,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    padding_of,
    word,
)
from gproxy.http.h2.hpack_decoder import DecodedBlock, HPACKDecoder
from gproxy.http.h2.sender import SERVER
from gproxy.http.h2.settings import SessionFault, SessionOptions
from gproxy.http.h2.stream import CLOSED, HALF_CLOSED_REMOTE, OPEN, RECEIVED_END, Stream

#: CONTINUATION frames of one block: real clients need two for the largest heads that we accept.
MOST_CONTINUATIONS: Final = 8
#: Streams refused without a token before the client can know our limit: it may have sent many at once.
_FREE_REFUSALS: Final = 1000
_NO_CONTENT_FOLLOWS: Final = "Content-Length promises content, and none follows"


class _PartialBlock:
    """A field block whose END_HEADERS has not come."""

    __slots__ = ("count", "flags", "pieces", "size", "stream_id")

    def __init__(self, stream_id: int, flags: int, piece: bytes) -> None:
        self.stream_id = stream_id
        self.flags = flags
        self.pieces = [piece]
        self.size = len(piece)
        self.count = 0


class MessageReceiver(ControlReceiver):
    """The part of a session that receives messages."""

    __slots__ = ("_block", "_decoder", "_limits", "_most_block", "_refusals", "block_since", "clock")

    def __init__(
        self, role: int, options: SessionOptions, names: FieldNames, clock: Callable[[], float], buffers: Buffers
    ) -> None:
        super().__init__(role, options, clock, buffers)
        self.clock = clock
        #: When the first bytes of a field block came, if its last ones have not; else 0.0. The user limits this time.
        self.block_since = 0.0
        self._block: _PartialBlock | None = None
        #: Most bytes of a block; a larger one ends the session. The connection of a backend, and that of a proxy before
        #: the gateway, has the requests of many clients: a head that is too large should end its stream only.
        self._most_block = 2 * options.max_head if role == SERVER else (1 + MOST_CONTINUATIONS) * MAX_FRAME
        self._decoder = HPACKDecoder(names, options.max_head, options.max_fields)
        self._limits = HeadLimits(options.max_fields, options.max_head // 2)
        self._refusals = 0

    def _on_headers(self, stream_id: int, flags: int, payload: bytes) -> None:
        if not stream_id:
            raise SessionFault(PROTOCOL_ERROR, "HEADERS on stream 0")
        block = self._bare_block(stream_id, flags, payload) if flags & (PADDED | PRIORITY_FLAG) else payload
        if len(block) > self._most_block:
            raise SessionFault(ENHANCE_YOUR_CALM, "a field block is too large")
        if flags & END_HEADERS:
            self.block_since = 0.0
            self._on_block(stream_id, flags, block)
            return
        if not block:
            self._spend("empty HEADERS")
        self._block = _PartialBlock(stream_id, flags, block)
        self.block_since = self.block_since or self.clock()

    def _bare_block(self, stream_id: int, flags: int, payload: bytes) -> bytes:
        """Return the fragment of a HEADERS frame without padding and priority (sections 6.2, 5.3)."""
        begin, end = 0, len(payload)
        if flags & PADDED:
            padding = padding_of(payload)
            if padding < 0:
                raise SessionFault(PROTOCOL_ERROR, "HEADERS: the padding is longer than the frame")
            begin, end = 1, end - padding
        if flags & PRIORITY_FLAG:
            if len(payload) - begin < PRIORITY_SIZE:
                raise SessionFault(FRAME_SIZE_ERROR, "HEADERS: too short for a priority")
            if word(payload, begin) & MAX_STREAM_ID == stream_id:
                raise SessionFault(PROTOCOL_ERROR, "HEADERS: a stream depends on itself")
            begin += PRIORITY_SIZE
        if begin > end:
            raise SessionFault(PROTOCOL_ERROR, "HEADERS: the padding is longer than what the priority leaves")
        return payload[begin:end]

    def _on_continuation(self, flags: int, payload: bytes) -> None:
        partial = self._block
        if partial is None:
            raise SessionFault(PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        partial.count += 1
        partial.size += len(payload)
        if partial.count > MOST_CONTINUATIONS:
            raise SessionFault(ENHANCE_YOUR_CALM, f"more than {MOST_CONTINUATIONS} CONTINUATION frames")
        if partial.size > self._most_block:
            raise SessionFault(ENHANCE_YOUR_CALM, "a field block is too large")
        partial.pieces.append(payload)
        if flags & END_HEADERS:
            self._block = None
            self.block_since = 0.0
            self._on_block(partial.stream_id, partial.flags, b"".join(partial.pieces))
        elif not payload:
            self._spend("empty CONTINUATION")

    def _on_block(self, stream_id: int, flags: int, block: bytes) -> None:
        """Act on a complete block. Each one is decoded, to keep the table right."""
        decoded = self._decoder.decode(block)
        stream = self.streams.get(stream_id)
        ended = flags & END_STREAM != 0
        if stream is not None:
            self._on_further_block(stream, decoded, ended)
        elif not self._is_idle(stream_id):
            self._on_late_block(stream_id)
        elif self.role == SERVER and stream_id & 1:
            self._on_request(stream_id, decoded, ended)
        else:
            raise SessionFault(PROTOCOL_ERROR, f"HEADERS on stream {stream_id}, which the peer cannot open")

    def _on_request(self, stream_id: int, decoded: DecodedBlock, ended: bool) -> None:
        self.last_id = stream_id
        if len(self.streams) >= self.options.max_streams or stream_id > self._highest_allowed:
            self._refuse(stream_id)
            return
        self.accepted_id = stream_id
        state = HALF_CLOSED_REMOTE if ended else OPEN
        stream = Stream(stream_id, state, self.peer.initial_window, self.options.initial_window)
        stream.has_head = True
        self.streams[stream_id] = stream
        try:
            head = self._request_head(decoded, ended=ended)
        except Malformed as fault:  # compiled, a name has one type
            self._fault(stream, PROTOCOL_ERROR, fault.detail, fault.line)
            return
        except BadMessage as error:
            self._count(stream)
            self._events.append(StreamRejected(stream, error, ended))
            return
        stream.owed = head.content_length
        if head.priority or self._early_priorities:
            stream.prioritize(self._early_priorities.pop(stream_id, head.priority))
        self._count(stream)
        self._events.append(HeadReceived(stream, head, ended))

    def _request_head(self, decoded: DecodedBlock, *, ended: bool) -> RequestHead:
        head = request_head(decoded, limits=self._limits)
        if ended and head.content_length > 0:
            raise Malformed(_NO_CONTENT_FOLLOWS)
        if head.protocol and not self.options.enable_connect:
            raise Malformed(":protocol, but extended CONNECT is off")
        return head

    def _count(self, stream: Stream) -> None:
        stream.is_counted = True
        self.under_way += 1
        self._budget.allow()

    def _refuse(self, stream_id: int) -> None:
        """Refuse a stream; the peer may repeat its request."""
        self._send_reset(stream_id, REFUSED_STREAM)
        self._refusals += 1
        if self._is_acknowledged or self._refusals > _FREE_REFUSALS:
            self._spend("refused streams")

    def _on_further_block(self, stream: Stream, decoded: DecodedBlock, ended: bool) -> None:
        """Act on a response's head, or on trailers."""
        if not stream.may_receive:
            self._fault(stream, STREAM_CLOSED, "HEADERS after END_STREAM")
            return
        try:
            if not stream.has_head:
                self._on_response(stream, decoded, ended)
            elif ended:
                self._on_trailers(stream, trailers(decoded))
            else:
                self._fault(stream, PROTOCOL_ERROR, "trailers without END_STREAM")
        except Malformed as error:
            self._fault(stream, PROTOCOL_ERROR, error.detail)

    def _on_response(self, stream: Stream, decoded: DecodedBlock, ended: bool) -> None:
        head = response_head(decoded)
        if head.status < 200:
            if ended:
                raise Malformed("a 1xx response with END_STREAM")
            self._events.append(InterimReceived(stream, head))
            return
        stream.has_head = True
        owed = 0 if stream.is_without_body else head.framing
        if stream.is_connect and head.status < 300:
            owed = -1
        if ended and owed > 0:
            raise Malformed(_NO_CONTENT_FOLLOWS)
        stream.owed = owed
        self._budget.earn()
        if ended:
            self._end_receiving(stream)
        self._events.append(HeadReceived(stream, head, ended))

    def _on_trailers(self, stream: Stream, pairs: list[tuple[str, str]]) -> None:
        if stream.owed > 0:
            raise Malformed("less content than Content-Length says")
        if stream.held:
            self._events.append(DataReceived(stream, stream.held, False))
            stream.held = b""
        self._end_receiving(stream)
        self._events.append(TrailersReceived(stream, pairs))

    def _on_data(self, stream_id: int, flags: int, payload: bytes) -> None:
        if not stream_id:
            raise SessionFault(PROTOCOL_ERROR, "DATA on stream 0")
        size = len(payload)
        data = payload
        if flags & PADDED:
            padding = padding_of(payload)
            if padding < 0:
                raise SessionFault(PROTOCOL_ERROR, "DATA: the padding is longer than the frame")
            data = payload[1 : size - padding]
        windows = self._windows
        windows.receive_window -= size
        if windows.receive_window < 0:
            raise SessionFault(FLOW_CONTROL_ERROR, "more content than the window of the connection")
        ended = flags & END_STREAM != 0
        if not data and not ended:
            self._spend("empty DATA")
        stream = self.streams.get(stream_id)
        if stream is None or not stream.may_receive or size > stream.receive_window:
            self._on_useless_data(stream_id, stream, size)
            return
        stream.receive_window -= size
        self._keep_unread(stream, len(data), size - len(data))
        self._on_content(stream, data, ended)

    def _on_useless_data(self, stream_id: int, stream: Stream | None, size: int) -> None:
        """Return the window of content that no one will read, and judge why it came."""
        self._return_connection(size)
        if stream is None:
            self._on_closed(stream_id, "DATA")
        elif not stream.may_receive:
            self._fault(stream, STREAM_CLOSED, "DATA after END_STREAM")
        else:
            self._fault(stream, FLOW_CONTROL_ERROR, "more content than the window of the stream")

    def _on_content(self, stream: Stream, data: bytes, ended: bool) -> None:
        """Pass a piece on. The piece that completes the content waits until END_STREAM proves the length right.

        Without this, a backend that speaks HTTP/1.1 would have a complete request before we know it is malformed.
        """
        if not stream.has_head:
            self._fault(stream, PROTOCOL_ERROR, "DATA before the final head")
            return
        if stream.owed >= 0:
            owed = stream.owed = stream.owed - len(data)
            if owed < 0 or (ended and owed):
                self._fault(stream, PROTOCOL_ERROR, "the content is not as long as Content-Length says")
                return
            if stream.held:
                data = stream.held
            stream.held = data if not owed and not ended else b""
            if stream.held:
                return
        if ended:
            self._end_receiving(stream)
        if data or ended:
            self._events.append(DataReceived(stream, data, ended))

    def _end_receiving(self, stream: Stream) -> None:
        stream.move(RECEIVED_END)
        if stream.state == CLOSED:
            del self.streams[stream.id]
