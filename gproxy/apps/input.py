"""The stream `wsgi.input`: the body of the request, as it arrives."""

from collections.abc import Callable, Iterator

from gproxy.http.errors import HTTPError


class AppInput:
    """A file of bytes; `receive` returns the next ones, b"" at the end, and may wait for the client."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        self._kept = b""
        #: Why reading has failed: a malformed, truncated or too long body; else None.
        self.failure: HTTPError | None = None

    def _next_piece(self) -> bytes:
        if self._kept:
            piece, self._kept = self._kept, b""
            return piece
        if self.failure is not None:
            raise self.failure
        try:
            return self._receive()
        except HTTPError as error:
            self.failure = error
            raise

    def read(self, size: int | None = -1) -> bytes:
        """Return so many bytes, fewer only at the end; without a size all that remain. Raise HTTPError."""
        if size is None or size < 0:
            return b"".join(iter(self._next_piece, b""))
        pieces, left = [], size
        while left > 0 and (piece := self._next_piece()):
            pieces.append(piece)
            left -= len(piece)
        data = b"".join(pieces)
        if left < 0:
            self._kept = data[size:]
            data = data[:size]
        return data

    def read1(self, size: int | None = -1) -> bytes:
        """Return the bytes that come next, at most `size`. Raise HTTPError."""
        piece = self._next_piece()
        if size is not None and 0 <= size < len(piece):
            piece, self._kept = piece[:size], piece[size:]
        return piece

    def readline(self, size: int | None = -1) -> bytes:
        """Return the next line with its end, at most `size` bytes of it. Raise HTTPError."""
        most = size if size is not None and size >= 0 else None
        pieces, length = [], 0
        while most is None or length < most:
            piece = self._next_piece()
            end = piece.find(b"\n") + 1 or len(piece)
            if most is not None:
                end = min(end, most - length)
            pieces.append(piece[:end])
            length += end
            self._kept = piece[end:]
            if not piece or self._kept or piece.endswith(b"\n"):
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
