"""A terminal that a worker reads without blocking its event loop: a stream to the monitor, or a tty."""

import math
import os
from contextlib import suppress
from time import monotonic
from typing import Any, Final

import gevent
from gevent.event import Event

_READ: Final = 1
_WRITE: Final = 2
#: The longest line in bytes; what follows is another one.
_LONGEST: Final = 65536
#: The most characters that are encoded at a time: a text may be larger than its copy should be.
_PIECE: Final = 65536


class Terminal:
    """The lines of a terminal. It owns the descriptor, which becomes non-blocking. `last` is written when it closes."""

    def __init__(self, fd: int, last: bytes = b"") -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._last = last
        self._buffer = b""
        self._event = Event()
        #: True once the other end has gone.
        self.is_lost = False

    def wake(self) -> None:
        """End the present wait for a line, or the next one."""
        self._event.set()

    def line(self, seconds: float) -> str | None:
        """Return the next line; an empty text at the end; None after `wake`, or so many seconds."""
        if self._fd < 0:
            return ""
        if not self._has_line() and not self._receive():
            self._wait(_READ, seconds)
            if not self._receive():
                return None
        end = self._buffer.find(b"\n") + 1
        if not end and len(self._buffer) < _LONGEST and not self.is_lost:
            return None
        line, self._buffer = self._buffer[: end or _LONGEST], self._buffer[end or _LONGEST :]
        return line.decode("utf-8", "replace")

    def _has_line(self) -> bool:
        return b"\n" in self._buffer or len(self._buffer) >= _LONGEST or self.is_lost

    def _receive(self) -> bool:
        """Take what has arrived; return whether something has, be it the end."""
        try:
            data = os.read(self._fd, _LONGEST)
        except BlockingIOError:
            return False
        except OSError:  # a pseudo-terminal whose other end is closed
            data = b""
        self._buffer += data
        self.is_lost = self.is_lost or not data
        return True

    def _wait(self, event: int, seconds: float) -> None:
        """Wait until the descriptor is ready, `wake` is called or the time is over; other greenlets run meanwhile."""
        watcher: Any = gevent.get_hub().loop.io(self._fd, event)
        watcher.start(self._event.set)
        try:
            self._event.wait(min(seconds, 3600.0))
            self._event.clear()
        finally:
            watcher.stop()
            watcher.close()

    def write(self, text: str, seconds: float = math.inf) -> None:
        """Write, waiting so many seconds for a slow reader, and lose it then. To a lost terminal nothing is written."""
        ends = monotonic() + seconds
        for start in range(0, len(text), _PIECE):
            self._write(text[start : start + _PIECE].encode("utf-8", "replace"), ends)

    def _write(self, data: bytes, ends: float) -> None:
        while data and not self.is_lost:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                left = ends - monotonic()
                self.is_lost = left <= 0
                if left > 0:
                    self._wait(_WRITE, left)
            except OSError:
                self.is_lost = True

    def close(self) -> None:
        """Close the descriptor, once; what is written later has no effect."""
        self.is_lost = True
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):  # the other end has gone, or does not read
                os.write(fd, self._last)
            with suppress(OSError):
                os.close(fd)
