"""Frames of HTTP/2 as bytes, and the numbers of the protocol (RFC 9113 sections 4, 6, 7 and 11; RFC 8441; RFC 9218).

A frame has a head of nine bytes (length, type, flags, stream) and a payload. The functions here return whole frames,
but for DATA: its payload follows its head without a copy.
"""

from struct import Struct
from typing import Final

from gproxy.http.wire import HTTP2_PREFACE

#: What a client sends first (RFC 9113 section 3.4).
PREFACE: Final = HTTP2_PREFACE
#: Bytes of a frame's head.
HEAD: Final = 9
#: The largest payload that we accept and send: the default of SETTINGS_MAX_FRAME_SIZE.
MAX_FRAME: Final = 16384
#: The payload of a DATA frame that fills one TLS record of 16,384 bytes with its head.
DATA_PIECE: Final = 16375
#: The largest stream id and the largest window.
MAX_STREAM_ID: Final = 0x7FFFFFFF
MAX_WINDOW: Final = 0x7FFFFFFF
#: The window of a connection at its start, and of streams unless SETTINGS say otherwise.
DEFAULT_WINDOW: Final = 65535

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9
PRIORITY_UPDATE: Final = 16

END_STREAM: Final = 1
ACK: Final = 1
END_HEADERS: Final = 4
PADDED: Final = 8
PRIORITY_FLAG: Final = 32

HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6
ENABLE_CONNECT_PROTOCOL: Final = 8
NO_RFC7540_PRIORITIES: Final = 9

NO_ERROR: Final = 0
PROTOCOL_ERROR: Final = 1
INTERNAL_ERROR: Final = 2
FLOW_CONTROL_ERROR: Final = 3
SETTINGS_TIMEOUT: Final = 4
STREAM_CLOSED: Final = 5
FRAME_SIZE_ERROR: Final = 6
REFUSED_STREAM: Final = 7
CANCEL: Final = 8
COMPRESSION_ERROR: Final = 9
CONNECT_ERROR: Final = 10
ENHANCE_YOUR_CALM: Final = 11
INADEQUATE_SECURITY: Final = 12
HTTP_1_1_REQUIRED: Final = 13

ERROR_NAMES: Final[dict[int, str]] = {
    NO_ERROR: "NO_ERROR",
    PROTOCOL_ERROR: "PROTOCOL_ERROR",
    INTERNAL_ERROR: "INTERNAL_ERROR",
    FLOW_CONTROL_ERROR: "FLOW_CONTROL_ERROR",
    SETTINGS_TIMEOUT: "SETTINGS_TIMEOUT",
    STREAM_CLOSED: "STREAM_CLOSED",
    FRAME_SIZE_ERROR: "FRAME_SIZE_ERROR",
    REFUSED_STREAM: "REFUSED_STREAM",
    CANCEL: "CANCEL",
    COMPRESSION_ERROR: "COMPRESSION_ERROR",
    CONNECT_ERROR: "CONNECT_ERROR",
    ENHANCE_YOUR_CALM: "ENHANCE_YOUR_CALM",
    INADEQUATE_SECURITY: "INADEQUATE_SECURITY",
    HTTP_1_1_REQUIRED: "HTTP_1_1_REQUIRED",
}

FRAME_NAMES: Final[dict[int, str]] = {
    DATA: "DATA",
    HEADERS: "HEADERS",
    PRIORITY: "PRIORITY",
    RST_STREAM: "RST_STREAM",
    SETTINGS: "SETTINGS",
    PUSH_PROMISE: "PUSH_PROMISE",
    PING: "PING",
    GOAWAY: "GOAWAY",
    WINDOW_UPDATE: "WINDOW_UPDATE",
    CONTINUATION: "CONTINUATION",
    PRIORITY_UPDATE: "PRIORITY_UPDATE",
}

#: Length in three bytes, as one and two; type, flags, stream.
_head = Struct(">BHBBL").pack
_word = Struct(">L").pack
_setting = Struct(">HL").pack


def error_name(code: int) -> str:
    """Return the name of an error code, or its number in hexadecimal digits: peers may send any."""
    return ERROR_NAMES.get(code) or f"0x{code:x}"


def frame_head(length: int, kind: int, flags: int, stream_id: int) -> bytes:
    """Return the nine bytes before a payload."""
    head: bytes = _head(length >> 16, length & 0xFFFF, kind, flags, stream_id)
    return head


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """Return a whole frame."""
    return frame_head(len(payload), kind, flags, stream_id) + payload


def headers_frames(stream_id: int, block: bytes, *, end: bool) -> bytes:
    """Return a field block as HEADERS, with as many CONTINUATION frames as it needs."""
    ending = END_STREAM if end else 0
    if len(block) <= MAX_FRAME:
        return frame(HEADERS, ending | END_HEADERS, stream_id, block)
    pieces = [frame(HEADERS, ending, stream_id, block[:MAX_FRAME])]
    position = MAX_FRAME
    while position < len(block):
        piece = block[position : position + MAX_FRAME]
        position += MAX_FRAME
        pieces.append(frame(CONTINUATION, END_HEADERS if position >= len(block) else 0, stream_id, piece))
    return b"".join(pieces)


def rst_stream(stream_id: int, code: int) -> bytes:
    """Return an RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream_id, _word(code))


def window_update(stream_id: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream_id, _word(increment))


def goaway(last_id: int, code: int, debug: bytes = b"") -> bytes:
    """Return a GOAWAY frame."""
    return frame(GOAWAY, 0, 0, _word(last_id) + _word(code) + debug)


def ping(data: bytes, *, ack: bool = False) -> bytes:
    """Return a PING frame with its eight bytes."""
    return frame(PING, ACK if ack else 0, 0, data)


def settings(pairs: list[tuple[int, int]]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join([_setting(key, value) for key, value in pairs]))


#: The answer to SETTINGS.
SETTINGS_ACK: Final = b"\x00\x00\x00\x04\x01\x00\x00\x00\x00"


def word(payload: bytes, position: int = 0) -> int:
    """Return the four bytes at a position as a number."""
    return payload[position] << 24 | payload[position + 1] << 16 | payload[position + 2] << 8 | payload[position + 3]


def padding_of(payload: bytes) -> int:
    """Return the bytes of padding at the end of a padded payload, or -1 if they do not fit (section 6.1)."""
    if not payload:
        return -1
    size = payload[0]
    return size if size < len(payload) else -1
