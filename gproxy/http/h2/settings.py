"""SETTINGS: the values that we announce, and those of the peer (RFC 9113 section 6.5, RFC 8441, RFC 9218)."""

from typing import Final

from gproxy.http.h2 import frames
from gproxy.http.h2.frames import DEFAULT_WINDOW, MAX_FRAME, MAX_WINDOW

#: Streams that a peer is taken to allow until its SETTINGS arrive: what RFC 9113 section 6.5.2 recommends at least.
ASSUMED_STREAMS: Final = 100
_UNLIMITED: Final = 0xFFFFFFFF
_LARGEST_FRAME: Final = 0xFFFFFF
#: Bytes of one setting.
_SETTING: Final = 6


class SessionFault(Exception):
    """A fault of the peer that ends the connection: GOAWAY with this code."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


class SessionOptions:
    """The values of our side. Raises ValueError for a window below the protocol's default.

    With a smaller window, streams that the peer opens before it has our SETTINGS would have two limits.
    """

    __slots__ = (
        "connection_window", "enable_connect", "initial_window", "max_fields", "max_head", "max_streams", "max_window",
        "never_indexed",
    )  # fmt: skip

    def __init__(
        self,
        *,
        max_streams: int = 128,
        max_head: int = 32768,
        max_fields: int = 100,
        initial_window: int = 65536,
        max_window: int = 1 << 20,
        connection_window: int = 1 << 20,
        enable_connect: bool = True,
        never_indexed: frozenset[str] = frozenset(),
    ) -> None:
        if not DEFAULT_WINDOW <= initial_window <= max_window <= MAX_WINDOW:
            raise ValueError(f"initial_window: expected {DEFAULT_WINDOW} to max_window, not {initial_window}")
        if not DEFAULT_WINDOW <= connection_window <= MAX_WINDOW:
            raise ValueError(f"connection_window: expected {DEFAULT_WINDOW} or more, not {connection_window}")
        #: Most requests of one client under way, and most bytes and fields of a head.
        self.max_streams = max_streams
        self.max_head = max_head
        self.max_fields = max_fields
        #: A stream's window for receiving: at first, and at most while its reader keeps up.
        self.initial_window = initial_window
        self.max_window = max_window
        #: The connection's window for receiving: as a server, the most bytes of all bodies that are unread while the
        #: process has no room for them.
        self.connection_window = connection_window
        #: True to accept extended CONNECT (RFC 8441): WebSockets.
        self.enable_connect = enable_connect
        #: Names, in lower case, of fields that we send and that no peer may put into its table.
        self.never_indexed = never_indexed

    def server_settings(self) -> list[tuple[int, int]]:
        """Return the settings that a server announces."""
        return [
            (frames.MAX_CONCURRENT_STREAMS, self.max_streams),
            (frames.INITIAL_WINDOW_SIZE, self.initial_window),
            (frames.MAX_HEADER_LIST_SIZE, self.max_head),
            (frames.ENABLE_CONNECT_PROTOCOL, int(self.enable_connect)),
            (frames.NO_RFC7540_PRIORITIES, 1),
        ]

    def client_settings(self) -> list[tuple[int, int]]:
        """Return the settings that a client announces: without server push."""
        return [
            (frames.ENABLE_PUSH, 0),
            (frames.INITIAL_WINDOW_SIZE, self.initial_window),
            (frames.MAX_HEADER_LIST_SIZE, self.max_head),
            (frames.NO_RFC7540_PRIORITIES, 1),
        ]


class PeerSettings:
    """The peer's settings: the defaults of RFC 9113 until its own arrive.

    No peer limits our frames below MAX_FRAME, so this limit is not kept.
    """

    __slots__ = ("enables_connect", "initial_window", "is_server", "max_head", "max_streams", "smallest_table", "table")

    def __init__(self, *, is_server: bool) -> None:
        self.is_server = is_server
        self.table = 4096
        #: The smallest table of the last frame: the encoder has to pass through it (RFC 7541 section 4.2).
        self.smallest_table = 4096
        self.max_streams = ASSUMED_STREAMS
        #: The size of the largest head that the peer takes, with FIELD_OVERHEAD for each field.
        self.max_head = _UNLIMITED
        self.initial_window = DEFAULT_WINDOW
        #: True if the peer accepts extended CONNECT (RFC 8441).
        self.enables_connect = False

    def apply(self, payload: bytes, *, is_first: bool) -> None:
        """Take over a frame's settings in their order. Raises SessionFault.

        Only the last value of each counts: a frame that repeats one setting 2,730 times costs no more than its bytes.
        """
        if len(payload) % _SETTING:
            raise SessionFault(frames.FRAME_SIZE_ERROR, "SETTINGS: the length is no multiple of 6")
        if is_first:
            self.max_streams = _UNLIMITED
        self.smallest_table = self.table
        for position in range(0, len(payload), _SETTING):
            key = payload[position] << 8 | payload[position + 1]
            self._set(key, frames.word(payload, position + 2))

    def _set(self, key: int, value: int) -> None:
        if key == frames.HEADER_TABLE_SIZE:
            self.table = value
            self.smallest_table = min(value, self.smallest_table)
        elif key == frames.MAX_CONCURRENT_STREAMS:
            self.max_streams = value
        elif key == frames.MAX_HEADER_LIST_SIZE:
            self.max_head = value
        elif key == frames.INITIAL_WINDOW_SIZE:
            if value > MAX_WINDOW:
                raise SessionFault(frames.FLOW_CONTROL_ERROR, "SETTINGS: the initial window is above 2^31-1")
            self.initial_window = value
        elif key == frames.MAX_FRAME_SIZE:
            if not MAX_FRAME <= value <= _LARGEST_FRAME:
                raise SessionFault(frames.PROTOCOL_ERROR, f"SETTINGS: a frame size of {value}")
        elif key in _SWITCHES:
            self._switch(key, value)

    def _switch(self, key: int, value: int) -> None:
        """Check a setting that is 0 or 1."""
        if value > 1:
            raise SessionFault(frames.PROTOCOL_ERROR, f"SETTINGS: setting {key} is {value}, not 0 or 1")
        if key == frames.ENABLE_PUSH and value and self.is_server:
            raise SessionFault(frames.PROTOCOL_ERROR, "SETTINGS: a server enables push")
        if key == frames.ENABLE_CONNECT_PROTOCOL:
            if self.enables_connect and not value:
                raise SessionFault(frames.PROTOCOL_ERROR, "SETTINGS: extended CONNECT is withdrawn")
            self.enables_connect = value == 1


_SWITCHES: Final = (frames.ENABLE_PUSH, frames.ENABLE_CONNECT_PROTOCOL, frames.NO_RFC7540_PRIORITIES)
