"""The frames on a worker line: a length, a kind and the content.

| kind | from | content |
|---|---|---|
| QUESTION | monitor | JSON: number, name of the question, arguments; whether a descriptor follows |
| PART | worker | JSON: number, a part of the answer |
| END | worker | JSON: number, and an error if the question failed |
| FEED | worker | a marshalled list of records, as `runtime.feed` has them |
"""

import socket
import struct
from typing import Final

QUESTION: Final = b"Q"
PART: Final = b"P"
END: Final = b"E"
FEED: Final = b"F"

_HEAD: Final = struct.Struct("!Ic")
#: The longest content in bytes, so that a peer with a fault costs a bounded memory.
_LONGEST: Final = 64 * 1024 * 1024


class BrokenLineError(Exception):
    """A line that has ended, or whose frames cannot be read."""


def write_frame(sock: socket.socket, kind: bytes, content: bytes) -> None:
    """Send a frame, waiting for a slow reader. Raises OSError."""
    sock.sendall(_HEAD.pack(len(content), kind) + content)


def write_descriptor(sock: socket.socket, fd: int) -> None:
    """Send a descriptor behind a frame, with one byte. Raises OSError."""
    socket.send_fds(sock, [b"\0"], [fd])


def read_descriptor(sock: socket.socket) -> int:
    """Return the descriptor behind a frame. Raises BrokenLineError at the end."""
    try:
        _, found, _, _ = socket.recv_fds(sock, 1, 1)
    except OSError as error:
        raise BrokenLineError(str(error)) from None
    if not found:
        raise BrokenLineError("the descriptor behind a frame is missing")
    return found[0]


def read_frame(sock: socket.socket) -> tuple[bytes, bytes]:
    """Return the kind and the content of the next frame. Raises BrokenLineError at the end."""
    length, kind = _HEAD.unpack(_read(sock, _HEAD.size))
    if length > _LONGEST:
        raise BrokenLineError(f"a frame of {length} bytes")
    return kind, _read(sock, length)


def _read(sock: socket.socket, size: int) -> bytes:
    pieces = []
    while size:
        try:
            piece = sock.recv(min(size, 262144))
        except OSError as error:
            raise BrokenLineError(str(error)) from None
        if not piece:
            raise BrokenLineError("the other end is closed")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
