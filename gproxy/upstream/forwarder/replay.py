"""A request body recorded while it is sent, so that a retry can send it again, or before it is sent.

The beginning stays in memory. The rest goes to a temporary file without a name, which the system removes even if the
process is killed. Disks block, so threads write and read the file.
"""

import tempfile
from pathlib import Path
from typing import IO

from gproxy.http.errors import HTTPError
from gproxy.http.framing import PIECE
from gproxy.http.request import Request
from gproxy.runtime import Runtime


class ReplayBuffer:
    """A recording of a body: up to `memory` bytes in memory, then up to `spool` bytes on disk; a `Tape` of the body."""

    def __init__(self, request: Request, runtime: Runtime, memory: int, spool: int) -> None:
        #: None from the end on: the request's body has this recording, and both would wait for the collector of cycles.
        self._request: Request | None = request
        self._runtime = runtime
        self._memory = memory
        self._spool = spool
        self._pieces: list[bytes] = []
        self._file: IO[bytes] | None = None
        #: Bytes recorded in memory and on disk.
        self._in_memory = self._on_disk = 0
        #: The index of the next piece to play, then the position in the file.
        self._next_piece = self._position = 0
        self.is_whole = True
        #: True once the disk has failed: no further piece is tried.
        self.has_failed = False
        request.at_end(self.close)

    def add(self, data: bytes) -> None:
        """Record a piece that was just sent; discard the whole recording if the limits are exceeded."""
        if not self.is_whole:
            return
        if self.keep(data):
            self._next_piece, self._position = len(self._pieces), self._on_disk
            return
        self.is_whole = False
        self._pieces.clear()
        self.close()

    def keep(self, data: bytes) -> bool:
        """Record a piece that will be played; return False if the limits are exceeded or the disk fails."""
        if not self._on_disk and self._in_memory + len(data) <= self._memory:
            self._pieces.append(data)
            self._in_memory += len(data)
            return True
        if self.has_failed or self._on_disk + len(data) > self._spool or not self._spooled(data):
            return False
        self._on_disk += len(data)
        return True

    def rewind(self) -> None:
        self._next_piece = self._position = 0

    def play(self) -> bytes:
        """Return the next recorded piece, b"" at the end. Raise HTTPError if the file cannot be read."""
        if self._next_piece < len(self._pieces):
            self._next_piece += 1
            return self._pieces[self._next_piece - 1]
        if self._file is None or self._position >= self._on_disk:
            return b""
        data = self._runtime.offload(_read, self._file, self._position, min(PIECE, self._on_disk - self._position))
        if isinstance(data, OSError) or not data:
            why = data.strerror if isinstance(data, OSError) else "the file is too short"
            self._warn(f"cannot be read back: {why}")
            raise HTTPError(500, "the recorded request body could not be read", reason="spool")
        self._position += len(data)
        return data

    def close(self) -> None:
        """Close the file at the end of the request, or of the recording."""
        file, self._file = self._file, None
        self._request = None
        if file is not None:
            self._runtime.offload(file.close)

    def _spooled(self, data: bytes) -> bool:
        """Append the piece to the file; return False if the disk fails."""
        if self._file is None:
            opened = self._runtime.offload(_open, self._runtime.state_dir)
            if isinstance(opened, OSError):
                return self._failed(opened)
            self._file = opened
        error = self._runtime.offload(_write, self._file, self._on_disk, data)
        return error is None or self._failed(error)

    def _failed(self, error: OSError) -> bool:
        self._warn(f"cannot be recorded: {error.strerror}")
        self.has_failed = True
        return False

    def _warn(self, problem: str) -> None:
        """Log the first problem of its kind, and count the others: a full disk meets each upload."""
        request = self._request
        if request is None:
            return
        kind = f"request body {problem}"
        self._runtime.throttle.warn(kind, "%s %s %s: %s", request.id, request.method, request.path, kind)


# These functions return errors: gevent prints an exception that is raised in a thread to standard error.


def _open(folder: Path) -> IO[bytes] | OSError:
    try:
        return tempfile.TemporaryFile(buffering=0, dir=folder if folder.is_dir() else None)
    except OSError as error:
        return error


def _write(file: IO[bytes], position: int, data: bytes) -> OSError | None:
    rest = memoryview(data)
    try:
        file.seek(position)
        while rest:  # a full disk takes a part, and fails then
            written = file.write(rest)
            rest = rest[written:]
    except OSError as error:
        return error
    return None


def _read(file: IO[bytes], position: int, size: int) -> bytes | OSError:
    try:
        file.seek(position)
        return file.read(size)
    except OSError as error:
        return error
