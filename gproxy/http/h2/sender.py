"""The sending half of a session: from what its user wants to frames, within the windows of the peer."""

from collections.abc import Callable, Iterable
from typing import Final

from gproxy.http.buffers import Buffers
from gproxy.http.h2 import frames
from gproxy.http.h2.budget import Budget
from gproxy.http.h2.frames import DATA_PIECE, DEFAULT_WINDOW, MAX_STREAM_ID
from gproxy.http.h2.hpack_encoder import HPACKEncoder
from gproxy.http.h2.settings import PeerSettings, SessionOptions
from gproxy.http.h2.stream import CLOSED, HALF_CLOSED_LOCAL, OPEN, RESET, SENT_END, Stream
from gproxy.http.h2.windows import Windows
from gproxy.http.headers import Headers

#: The roles of a session.
SERVER: Final = 0
CLIENT: Final = 1
#: Streams that we have reset and still remember. All streams of a client may be reset at once, say by an expired token,
#: while it is sending content on each; it opens as many again before the last of this content has arrived.
_RESETS: Final = 64
_RESETS_PER_STREAM: Final = 2
#: A head and trailers.
_CROSSING_BLOCKS: Final = 2


class Sender:
    """The half of a session that sends. Its methods do nothing for a stream that is closed for them.

    So a greenlet may answer a stream which the peer has reset since.
    """

    __slots__ = (
        "_budget", "_buffers", "_encoder", "_forgotten", "_highest_allowed", "_most_resets", "_next_id", "_output",
        "_pings_sent", "_resets", "_windows", "accepted_id", "has_settings", "is_going_away", "options", "peer",
        "peer_is_going_away", "peer_last_id", "resets_sent", "role", "streams", "under_way", "unsent", "unsent_control",
        "withheld",
    )  # fmt: skip

    def __init__(self, role: int, options: SessionOptions, clock: Callable[[], float], buffers: Buffers) -> None:
        self.role = role
        self.options = options
        #: Open and half-closed streams, by their ids.
        self.streams: dict[int, Stream] = {}
        #: The peer's settings; `has_settings` once they have arrived.
        self.peer = PeerSettings(is_server=role == CLIENT)
        self.has_settings = False
        #: Requests of a client whose greenlets have not ended.
        self.under_way = 0
        #: The highest id of a stream that the session has acted on, for GOAWAY.
        self.accepted_id = 0
        #: True once we have sent GOAWAY.
        self.is_going_away = False
        #: True once the peer has sent GOAWAY.
        self.peer_is_going_away = False
        #: The last stream that the peer has begun before its GOAWAY; 0 without one, and if it has begun none.
        self.peer_last_id = 0
        #: RST_STREAM frames sent.
        self.resets_sent = 0
        #: Bytes in the output, and the frames among it that answer the peer's control frames.
        self.unsent = 0
        self.unsent_control = 0
        self._output: list[bytes | memoryview] = []
        self._budget = Budget(clock)
        self._encoder = HPACKEncoder(options.never_indexed)
        self._windows = Windows(DEFAULT_WINDOW, options.connection_window)
        #: What the process keeps for slow peers: unread content counts there.
        self._buffers = buffers
        #: Unread bytes that came while the process had no room: their window goes back when content is read.
        self.withheld = 0
        #: Streams that we have reset, in their order, and how many field blocks may yet cross that without a token.
        self._resets: dict[int, int] = {}
        #: The highest id among those of them that are no longer remembered.
        self._forgotten = 0
        self._most_resets = max(_RESETS, _RESETS_PER_STREAM * options.max_streams)
        self._next_id = 1
        self._highest_allowed = MAX_STREAM_ID
        #: PINGs without an answer so far.
        self._pings_sent = 0

    @property
    def has_output(self) -> bool:
        """True if there is something to send."""
        return bool(self._output)

    @property
    def can_request(self) -> bool:
        """True if a further request of ours may be sent: a free stream, an id, and no GOAWAY either way."""
        return (
            len(self.streams) < self.peer.max_streams
            and self._next_id <= MAX_STREAM_ID
            and not self.peer_is_going_away
            and not self.is_going_away
        )

    @property
    def highest_id(self) -> int:
        """The id of our last request; negative before the first."""
        return self._next_id - 2

    def start(self) -> None:
        """Send what comes first: as a client the preface; SETTINGS, and the window of the connection."""
        if self.role == CLIENT:
            self._append(frames.PREFACE)
            self._append(frames.settings(self.options.client_settings()))
        else:
            self._append(frames.settings(self.options.server_settings()))
        if self.options.connection_window > DEFAULT_WINDOW:
            self._append(frames.window_update(0, self.options.connection_window - DEFAULT_WINDOW))

    def take_output(self) -> list[bytes | memoryview]:
        """Return what is to be sent, and forget it.

        Call this only when it can be sent: what a peer that does not read lets pile up is counted here.
        """
        output = self._output
        self._output = []
        self.unsent = 0
        self.unsent_control = 0
        return output

    def request(
        self,
        method: str,
        scheme: str,
        authority: str,
        path: str,
        headers: Headers,
        *,
        end: bool,
        protocol: str = "",
    ) -> Stream:
        """Open a stream with a request's head. The caller has seen `can_request`. `end`: without a body.

        Raises UnicodeEncodeError for a field that cannot be sent; no stream is opened then.
        """
        block = self._encoder.encode_request(method, scheme, authority, path, headers, protocol)
        stream_id = self._next_id
        self._next_id += 2
        state = HALF_CLOSED_LOCAL if end else OPEN
        stream = Stream(stream_id, state, self.peer.initial_window, self.options.initial_window)
        stream.is_without_body = method == "HEAD"
        stream.is_connect = bool(protocol)
        stream.has_sent_head = True
        self.streams[stream_id] = stream
        self._append(frames.headers_frames(stream_id, block, end=end))
        return stream

    def respond(self, stream: Stream, status: int, headers: Headers, *, end: bool) -> None:
        """Send a response's head, also that of a 1xx response. `end`: without a body."""
        if not stream.may_send:
            return
        block = self._encoder.encode_response(status, headers)
        if status >= 200:
            stream.has_sent_head = True
        self._append(frames.headers_frames(stream.id, block, end=end))
        if end:
            self._end(stream)

    def send_data(self, stream: Stream, data: bytes | memoryview, *, end: bool) -> None:
        """Send content as DATA frames, without a copy. Raises ValueError for more than is `sendable`."""
        if not stream.may_send:
            return
        size = len(data)
        if size > self.sendable(stream):
            raise ValueError(f"{size} bytes are more than the window of {self.sendable(stream)}")
        stream.send_window -= size
        self._windows.send_window -= size
        if size <= DATA_PIECE:
            self._data_frame(stream.id, data, size, end=end)
        else:
            self._data_frames(stream.id, memoryview(data), size, end=end)
        if end:
            self._end(stream)

    def _data_frames(self, stream_id: int, data: memoryview, size: int, *, end: bool) -> None:
        for position in range(0, size, DATA_PIECE):
            after = min(position + DATA_PIECE, size)
            self._data_frame(stream_id, data[position:after], after - position, end=end and after == size)

    def _data_frame(self, stream_id: int, data: bytes | memoryview, size: int, *, end: bool) -> None:
        self._budget.allow()
        self._append(frames.frame_head(size, frames.DATA, frames.END_STREAM if end else 0, stream_id))
        if size:
            self._output.append(data)
            self.unsent += size

    def send_trailers(self, stream: Stream, pairs: Iterable[tuple[str, str]]) -> None:
        """Send the fields after the content, and END_STREAM."""
        if stream.may_send:
            block = self._encoder.encode_trailers(pairs)
            self._append(frames.headers_frames(stream.id, block, end=True))
            self._end(stream)

    def sendable(self, stream: Stream) -> int:
        """Return how many bytes of content both windows allow now."""
        return max(0, min(stream.send_window, self._windows.send_window)) if stream.may_send else 0

    def reset(self, stream: Stream, code: int) -> None:
        """Send RST_STREAM. A server drops the content of an incomplete request that it has not read."""
        if stream.state != CLOSED:
            self._send_reset(stream.id, code)
            self._close(stream)

    def consumed(self, stream: Stream, size: int) -> None:
        """Note content that was read: windows go back to the peer in steps, and grow while the reader keeps up."""
        size = min(size, stream.unread)
        stream.unread -= size
        self._buffers.remove(size)
        self._return(stream, size)
        if self.withheld:
            self._return_withheld(min(size, self.withheld))

    def release_withheld(self) -> None:
        """Give the withheld window back if the process has room again."""
        if self._buffers.has_room:
            self._return_withheld(self.withheld)

    def ping(self, data: bytes) -> None:
        """Send PING with eight bytes; PingAcknowledged follows."""
        self._pings_sent += 1
        self._append(frames.ping(data))

    def go_away(self, last_id: int, code: int) -> None:
        """Send GOAWAY. Streams of the peer above `last_id` that come later get REFUSED_STREAM."""
        self.is_going_away = True
        self._highest_allowed = min(last_id, self._highest_allowed)
        self._append(frames.goaway(self._highest_allowed, code))

    def answered(self) -> None:
        """Note an answered request of a client: it earns a token."""
        self._budget.earn()

    def ended(self, stream: Stream) -> None:
        """Note that the user has finished with a stream: only now it is no longer under way."""
        if stream.is_counted:
            stream.is_counted = False
            self.under_way -= 1
        if stream.unread:
            self.consumed(stream, stream.unread)

    def _append(self, data: bytes) -> None:
        self._output.append(data)
        self.unsent += len(data)

    def _append_control(self, data: bytes) -> None:
        self.unsent_control += 1
        self._append(data)

    def _end(self, stream: Stream) -> None:
        """Note that END_STREAM was sent."""
        stream.move(SENT_END)
        if stream.state == CLOSED:
            del self.streams[stream.id]

    def _send_reset(self, stream_id: int, code: int) -> None:
        """Send RST_STREAM, and remember the id: frames that the peer has sent before it knows are no fault."""
        self.resets_sent += 1
        if len(self._resets) >= self._most_resets:
            oldest = next(iter(self._resets))
            del self._resets[oldest]
            self._forgotten = max(oldest, self._forgotten)
        self._resets[stream_id] = _CROSSING_BLOCKS
        self._append_control(frames.rst_stream(stream_id, code))

    def _close(self, stream: Stream) -> None:
        """Forget a stream that was reset either way.

        Of an incomplete request, the user drops what it has not read: its window goes back now. A complete one may yet
        be read, until `ended`; so may what has come of a response, if there is an owner that reads it.
        """
        is_incomplete = stream.may_receive
        stream.move(RESET)
        stream.held = b""
        self.streams.pop(stream.id, None)
        if is_incomplete and (self.role == SERVER or stream.owner is None):
            self.consumed(stream, stream.unread)

    def _return(self, stream: Stream, size: int) -> None:
        """Give window of a stream back, if there is enough for a step and the peer may still send.

        A stream whose reader keeps up gets a larger window, within its share of the connection's: if it stops while the
        process has no room, the other streams have the rest.
        """
        if not size or not stream.may_receive:
            return
        increment = stream.returned(size)
        if increment:
            if not stream.unread:
                share = self.options.connection_window // (len(self.streams) + 1)  # one for the stream that may follow
                increment += stream.grow(min(self.options.max_window, share))
            self._append_control(frames.window_update(stream.id, increment))

    def _keep_unread(self, stream: Stream, size: int, padding: int) -> None:
        """Note content that has come, and padding, which no one will read.

        The window of the connection goes back at once as long as the process has room: then only a stream's own window
        bounds what is unread of it, and a reader that stops takes nothing from the other streams. A backend's goes back
        in any case: one slow client must not stop the responses to others.
        """
        stream.unread += size
        self._buffers.add(size)
        if self.role == CLIENT or self._buffers.has_room:
            self._return_connection(size + padding)
        else:
            self.withheld += size
            self._return_connection(padding)
        if padding:
            self._return(stream, padding)

    def _return_withheld(self, size: int) -> None:
        self.withheld -= size
        self._return_connection(size)

    def _return_connection(self, size: int) -> None:
        """Give window of the connection back, if there is enough for a step."""
        increment = self._windows.returned(size, self.withheld)
        if increment:
            self._append_control(frames.window_update(0, increment))
