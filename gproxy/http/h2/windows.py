"""Flow control: the windows of a stream or of the connection, in both directions (RFC 9113 sections 5.2 and 6.9).

The receiver gives a window back in steps of half of it: few WINDOW_UPDATE frames, and a sender that never has less
than half a window while its reader keeps up.
"""

from typing import Final

from gproxy.http.h2.frames import MAX_FRAME, MAX_WINDOW

#: A window goes back in so many steps; while a part of it is withheld, in steps of the rest, or of so many bytes.
_STEPS: Final = 2
_SMALLEST: Final = 2 * MAX_FRAME


class Windows:
    """Both windows of a stream, or of the connection."""

    __slots__ = ("receive_window", "send_window", "size", "unread", "unreturned")

    def __init__(self, send_window: int, size: int) -> None:
        #: Bytes that we may send; below zero after the peer has lowered its initial window.
        self.send_window = send_window
        #: Bytes that the peer may send, and the size of this window when nothing of it is used.
        self.receive_window = size
        self.size = size
        #: Bytes received that our user has not read.
        self.unread = 0
        #: Bytes that were read, or are of no use, and whose window the peer has not got back.
        self.unreturned = 0

    def open(self, increment: int) -> bool:
        """Add to the window for sending; return False if it becomes too large."""
        self.send_window += increment
        return self.send_window <= MAX_WINDOW

    def returned(self, size: int, withheld: int = 0) -> int:
        """Note bytes that need no window any more; return what to give back now, which is mostly nothing.

        While so many bytes are `withheld`, the peer has only the rest of the window: the steps are smaller.
        """
        self.unreturned += size
        if self.unreturned * _STEPS < max(self.size - withheld, _SMALLEST):
            return 0
        increment = self.unreturned
        self.unreturned = 0
        self.receive_window += increment
        return increment

    def grow(self, largest: int) -> int:
        """Double the window for receiving, up to the largest; return the increment."""
        increment = min(self.size, largest - self.size)
        if increment <= 0:
            return 0
        self.size += increment
        self.receive_window += increment
        return increment
