"""The stream `wsgi.input`: the body of the request, as it arrives."""

import sys
from collections.abc import Callable, Iterator

from gproxy.http.errors import HTTPError


class AppInput:
    """A file of bytes; `receive` returns the next ones, b"" at the end, and may wait for the client."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        #: The last piece, and how much of it has been read. PERF: a copy of the rest for each line would be quadratic.
        self._kept, self._position = b"", 0
        #: Why reading has failed: a malformed, truncated or too long body; else None.
        self.failure: HTTPError | None = None

    def _has_more(self) -> bool:
        """Keep a piece unless one is kept; return False at the end. Raise HTTPError."""
        if self._position < len(self._kept):
            return True
        self._kept, self._position = b"", 0
        if self.failure is not None:
            raise self.failure
        try:
            self._kept = self._receive()
        except HTTPError as error:
            self.failure = error
            raise
        return bool(self._kept)

    def _take(self, end: int) -> bytes:
        """Return the kept piece up to this position."""
        kept, begin = self._kept, self._position
        if end < len(kept):
            self._position = end
        else:
            self._kept, self._position = b"", 0
        return kept[begin:end]

    def _next_piece(self) -> bytes:
        return self._take(len(self._kept)) if self._has_more() else b""

    def read(self, size: int | None = -1) -> bytes:
        """Return so many bytes, fewer only at the end; without a size all that remain. Raise HTTPError."""
        if size is None or size < 0:
            return b"".join(iter(self._next_piece, b""))
        pieces, left = [], size
        while left > 0 and self._has_more():
            piece = self._take(self._position + left)
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def read1(self, size: int | None = -1) -> bytes:
        """Return the bytes that come next, at most `size`. Raise HTTPError."""
        if size is None or size < 0:
            return self._next_piece()
        return self._take(self._position + size) if size and self._has_more() else b""

    def readline(self, size: int | None = -1) -> bytes:
        """Return the next line with its end, at most `size` bytes of it. Raise HTTPError."""
        left = size if size is not None and size >= 0 else sys.maxsize
        pieces: list[bytes] = []
        while left > 0 and self._has_more():
            begin, most = self._position, min(len(self._kept) - self._position, left)
            found = self._kept.find(b"\n", begin, begin + most)
            piece = self._take(begin + most if found < 0 else found + 1)
            pieces.append(piece)
            left -= len(piece)
            if found >= 0:
                break
        return b"".join(pieces)

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """Return the lines that remain, or those of about `hint` bytes. Raise HTTPError."""
        lines, length = [], 0
        for line in self:
            lines.append(line)
            length += len(line)
            if hint is not None and 0 < hint <= length:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")
