"""The lines that are added to a log, over any rotation: renamed files, packed ones, copies before a truncation.

A file is recognized by its first line, because inodes are used again, and a copy or a packed file has another one.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from gproxy.observe.access_files.log_files import DAMAGES, LogFile, found_files, opened, ordered

_PIECE: Final = 1 << 20
#: Longer lines are broken.
_LONGEST: Final = 16 << 20
#: Bytes before the position that show whether the file still has what was read.
_SHOWN: Final = 256
#: Seconds for which a rotated file is followed at least, and for which a directory is searched after a rotation.
_LINGER: Final = 2.0
#: Seconds after which a rotated file ends for sure, where files have no locks.
_FORGOTTEN: Final = 60.0
#: The number of first lines that are kept.
_MOST_KNOWN: Final = 10_000


class _Tail:
    """A file that is followed from a position: the bytes that were read end there."""

    def __init__(self, file: BinaryIO, position: int) -> None:
        found = os.fstat(file.fileno())
        self.file = file
        self.identity = found.st_dev, found.st_ino
        self.position = position
        #: The beginning of a line whose end is not written yet.
        self.rest = b""
        #: When the file got another name, by the clock of the follower.
        self.rotated = 0.0
        #: The first line; empty if it has no end yet.
        self.first = b""
        self.peek()
        start = max(0, position - _SHOWN)
        self.shown = self._read(position - start, start)

    def _read(self, size: int, start: int) -> bytes:
        return os.pread(self.file.fileno(), size, start)

    def peek(self) -> None:
        """Note the first line, which may not be read yet."""
        self.first = self.first or first_line(self._read(_PIECE, 0))

    @property
    def is_truncated(self) -> bool:
        """Loss of what was read: the file is shorter, or has other bytes there."""
        size = len(self.shown)
        return self._read(size, self.position - size) != self.shown

    def lines(self) -> Iterator[bytes]:
        """Yield blocks of the whole lines that were added."""
        while data := self._read(_PIECE, self.position):
            self.position += len(data)
            self.shown = (self.shown + data)[-_SHOWN:]
            for block in self.joined(data):
                self.first = self.first or first_line(block)
                yield block

    def joined(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines that end in these bytes; they follow those that were read."""
        end = data.rfind(b"\n") + 1
        if end:
            yield self.rest + data[:end]
            self.rest = data[end:]
        else:
            self.rest += data
        if len(self.rest) > _LONGEST:
            yield self.rest + b"\n"
            self.rest = b""

    def restart(self) -> None:
        """Begin again at the beginning of the file."""
        self.position, self.rest, self.first, self.shown = 0, b"", b"", b""

    def is_finished(self, now: float) -> bool:
        """Return whether no worker writes to the rotated file any longer: each has a shared lock as long as it may."""
        if now - self.rotated < _LINGER:
            return False
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return now - self.rotated > _FORGOTTEN
        fcntl.flock(self.file, fcntl.LOCK_UN)
        return True


def first_line(head: bytes) -> bytes:
    """Return the first line of a file; empty if it has no end yet."""
    return head[: head.find(b"\n") + 1]


class Follower:
    """The log at `path`, followed from where its opened files end. `known` are the first lines of all its files."""

    def __init__(
        self,
        path: Path,
        files: Sequence[LogFile],
        known: Iterable[bytes],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._clock = clock
        self._known = dict.fromkeys(known)
        self._current: _Tail | None = None
        self._rotated: list[_Tail] = []
        self._search_until = 0.0
        for file in files:
            if not file.is_packed:
                self._start(file, file.stop)

    def _start(self, file: LogFile, position: int) -> _Tail:
        tail = _Tail(file.file, position)
        if file.path == self._path:
            self._current = tail
        else:
            tail.rotated = self._clock()
            self._rotated.append(tail)
        return tail

    def close(self) -> None:
        """Close all files."""
        for tail in self._tails():
            tail.file.close()

    def _tails(self) -> list[_Tail]:
        return [*self._rotated, *([self._current] if self._current else ())]

    def poll(self) -> Iterator[bytes]:
        """Yield blocks of the lines that were added since the last call."""
        now = self._clock()
        self._notice_rotation(now)
        for tail in list(self._rotated):
            is_finished = tail.is_finished(now)  # before the last look: later there is nothing to add
            yield from tail.lines()
            if is_finished:
                self._rotated.remove(tail)
                tail.file.close()
        if self._current is not None and self._current.is_truncated:
            yield from self._copied(self._current)
            self._know(self._current.first)
            self._current.restart()
            self._search_until = now + _LINGER
        if now < self._search_until:
            yield from self._adopted()
        if self._current is not None:
            yield from self._current.lines()

    def _notice_rotation(self, now: float) -> None:
        """Open the new file if the name has one. The old one still gets lines of workers that have not noticed."""
        with contextlib.suppress(FileNotFoundError):
            found = self._path.stat()
            if self._current and (found.st_dev, found.st_ino) == self._current.identity:
                return
            new = _Tail(self._path.open("rb", buffering=0), 0)
            if self._current is not None:
                self._current.rotated = now
                self._rotated.append(self._current)
                self._search_until = now + _LINGER
            self._current = new

    def _adopted(self) -> Iterator[bytes]:
        """Yield the lines of further files that were rotated since the last look, and follow them."""
        for tail in self._tails():
            tail.peek()
            self._know(tail.first)
        for file in self._others():
            first = first_line(file.head)
            if not first or first in self._known:
                self._know(first)
                file.close()
                continue
            self._know(first)
            if file.is_packed:
                yield from file.blocks()
                file.close()
            else:
                yield from self._start(file, 0).lines()

    def _others(self) -> list[LogFile]:
        """Return the rotated files, opened, in order of time."""
        names = [name for name in found_files(self._path) if name != self._path]
        return ordered([file for file in map(opened, names) if file is not None])

    def _know(self, first: bytes) -> None:
        """Note the first line of a file as the latest one that was seen."""
        self._known.pop(first, None)
        self._known[first] = None
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]

    def _copied(self, tail: _Tail) -> Iterator[bytes]:
        """Yield the lines that a copy of the file has beyond the position: they were written before the truncation."""
        for file in self._others():
            with contextlib.suppress(*DAMAGES):
                if tail.first and first_line(file.head) == tail.first:
                    content = file.content()
                    content.seek(tail.position - len(tail.shown))
                    if content.read(len(tail.shown)) == tail.shown:
                        while data := content.read(_PIECE):
                            yield from tail.joined(data)
            file.close()
