"""The bytes that this process keeps in memory for slow clients.

`[server] buffers` bounds their sum. A part that finds no room does without: it collects an upload on disk, reads a
response no faster than its client, or lets the uploads of one connection over HTTP/2 wait for each other.
"""

from typing import Final

#: Bytes of a piece beyond the bound; 128 streams of one connection keep 2 MB then. A smaller one costs a call for too
#: few bytes.
_SCARCE: Final = 16_000


class Buffers:
    """The sum of all bytes kept, and its bound."""

    __slots__ = ("_limit", "used")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        #: The bytes kept at present; at most one piece for each client more than the bound.
        self.used = 0

    @property
    def has_room(self) -> bool:
        return self.used < self._limit

    def piece(self, size: int) -> int:
        """Return how much of so many bytes to read at once for a client that may be slow: beyond the bound, little."""
        return size if self.used <= self._limit or size < _SCARCE else _SCARCE

    def add(self, size: int) -> None:
        """Count bytes that are kept from now on."""
        self.used += size

    def remove(self, size: int) -> None:
        """Stop counting bytes that are released."""
        self.used -= size


#: The bound of a process that keeps nothing.
NO_BUFFERS: Final = Buffers(0)


class Share:
    """The bytes that one exchange keeps; `release` returns all of them."""

    __slots__ = ("_buffers", "size")

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers
        self.size = 0

    def add(self, size: int) -> bool:
        """Count further bytes; return whether there is room for more."""
        buffers = self._buffers
        buffers.add(size)
        self.size += size
        return buffers.has_room

    def release(self) -> None:
        """Return all bytes; further calls do nothing."""
        self._buffers.remove(self.size)
        self.size = 0
