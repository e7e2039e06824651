"""The bytes that this process keeps in memory for slow clients.

`[server] buffers` bounds their sum. A part that finds no room does without: it collects an upload on disk,
and reads a response no faster than its client.
"""

from typing import Final


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
