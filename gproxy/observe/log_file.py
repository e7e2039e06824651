"""The file of the access log: append, reopen, rotate and compress. No gevent here: the caller chooses the thread.

Several workers write to one file. Each line arrives whole, because the file is opened with O_APPEND and a batch is one
write. A worker rotates under a lock on the directory; a worker that gets the lock and finds a new file under the name
only opens that file. Each worker also holds a shared lock on the file while it may still write to it, so that a rotated
file is not compressed too early.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Final, NamedTuple

from isal import igzip

from gproxy.observe import rotation

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
_MODE = 0o640
_LOOK_EVERY = 1.0  # seconds between two checks of the name; a stat costs 2 µs
_RETRY_AFTER = 60.0  # seconds after a rotation that failed


class Loss(NamedTuple):
    """A number of lines that could not be written, and the error."""

    lines: int
    error: OSError


class LogFile:
    """A log file (`-`: standard output). Only `open` raises; other methods return their errors."""

    def __init__(
        self,
        path: str,
        *,
        daily: bool,
        size: int | None,
        keep: int,
        compress: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._stdout = path == "-"
        self._path = Path(path).absolute()
        self._daily = daily
        self._limit = size
        self._keep = keep
        self._compress = compress
        self._clock = clock
        self._checked = self._failed = -inf  # times of the last check of the name and of the last failed rotation
        self._fd = -1
        self._kind = 0  # st_mode
        self._identity = (0, 0)  # st_dev, st_ino
        self._size = 0  # bytes, with other workers' lines, at the last write or check
        self._midnight = inf  # the end of the day of the lines
        self._torn = False  # True if the file ends within a line

    def open(self) -> None:
        """Open or create the file, and its directories. Raises OSError with the path."""
        self._adopt(self._opened())

    def close(self) -> None:
        """Close the file."""
        _close(self._fd)
        self._fd = -1

    @property
    def blocks(self) -> bool:
        """True if a write may wait for a reader, as with a pipe."""
        return stat.S_ISFIFO(self._kind) or stat.S_ISSOCK(self._kind)

    @property
    def _is_file(self) -> bool:
        return stat.S_ISREG(self._kind)

    def append(self, data: bytes) -> Loss | None:
        """Write whole lines; return the loss if some could not be written. The caller does not repeat them."""
        if not self._size:
            self._midnight = rotation.next_midnight(self._clock())
        whole = b"\n" + data if self._torn else data
        sent = 0
        try:
            while sent < len(whole):
                sent += os.write(self._fd, whole[sent:] if sent else whole)
        except OSError as error:
            # A partly written line counts as lost; the newline that will end it does not count.
            return Loss(min(whole.count(b"\n", sent), data.count(b"\n")), error)
        finally:
            self._size = self._end(sent)
            self._torn = whole[sent - 1] != 0x0A if sent else self._torn
        return None

    def _end(self, sent: int) -> int:
        """Return the size after a write: O_APPEND leaves the position at the end, behind all workers' lines."""
        return os.lseek(self._fd, 0, os.SEEK_CUR) if self._is_file and sent else self._size + sent

    def is_stale(self) -> bool:
        """Return whether the name now belongs to another file or to none; check at most once a second."""
        now = self._clock()
        if self._stdout or abs(now - self._checked) < _LOOK_EVERY:
            return False
        self._checked = now
        found = self._stat()
        if found is None or not self._is_open_file(found):
            return True
        self._update(found)
        return False

    def doubt(self) -> None:
        """Make the next `is_stale` check the name at once."""
        self._checked = -inf

    def reopen(self) -> OSError | None:
        """Open the file by name again; if this fails, return the error and keep the open file."""
        try:
            self._replace(self._opened())
        except OSError as error:
            return error
        return None

    def is_due(self) -> bool:
        """Return whether a rotation is due; never within a minute after a failed one."""
        now = self._clock()
        midnight = self._midnight if self._daily else inf
        due = rotation.is_due(self._size, now, limit=self._limit, midnight=midnight)
        return due and self._is_file and not self._stdout and abs(now - self._failed) >= _RETRY_AFTER

    def rotate(self) -> OSError | None:
        """Rename the file, open a new one, and delete expired ones; return the error if this fails.

        The call may block, so run it in a thread, and do not use the object meanwhile.
        """
        try:
            self._replace(self._successor())
            self._expire()
        except OSError as error:
            self._failed = self._clock()
            return error
        return None

    def compress(self) -> OSError | bool:
        """Compress the rotated files; return False if some are still open, or the error.

        Run it in a thread; other methods may run meanwhile.
        """
        if not self._compress:
            return True
        try:
            waiting = rotation.uncompressed(self._path.name, self._names())
            done = [compress(self._path.with_name(name)) for name in waiting]  # all of them, even if one is still open
            return all(done)
        except OSError as error:
            return error

    def _opened(self) -> int:
        if self._stdout:
            return os.dup(1)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            pass  # a file is in a directory's place: `open` gives the better error
        while True:
            fd = os.open(self._path, _FLAGS, _MODE)
            with contextlib.suppress(OSError):  # a file system without locks, or a file that is being compressed
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            found, opened = self._stat(), os.fstat(fd)
            if found is None or (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino):
                return fd
            os.close(fd)  # another worker rotated it before this one had the lock

    def _adopt(self, fd: int) -> None:
        found = os.fstat(fd)
        self._fd = fd
        self._kind = found.st_mode
        self._identity = found.st_dev, found.st_ino
        self._size = 0
        self._torn = False
        self._update(found)

    def _replace(self, fd: int) -> None:
        old = self._fd
        self._adopt(fd)
        _close(old)

    def _update(self, found: os.stat_result) -> None:
        """Update the size, which other workers' lines or a truncation have changed."""
        if not self._is_file:
            return
        if not self._size:
            self._midnight = rotation.next_midnight(min(found.st_mtime, self._clock()))
        self._size = found.st_size

    def _stat(self) -> os.stat_result | None:
        try:
            return self._path.stat()
        except OSError:
            return None

    def _is_open_file(self, found: os.stat_result) -> bool:
        return (found.st_dev, found.st_ino) == self._identity

    def _successor(self) -> int:
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            found = self._stat()
            if found and found.st_size and self._is_open_file(found):
                self._path.rename(self._rotated())
            return self._opened()
        finally:
            os.close(directory)

    def _rotated(self) -> Path:
        lines_of = rotation.day(self._midnight - 1)
        name = rotation.rotated_name(self._path.name, lines_of, self._names(), compressed=self._compress)
        return self._path.with_name(name)

    def _expire(self) -> None:
        failure = None
        for old in rotation.expired(self._path.name, self._names(), self._keep, compressed=self._compress):
            try:
                self._path.with_name(old).unlink(missing_ok=True)  # another worker may delete it first
            except OSError as error:
                failure = error
        if failure:
            raise failure

    def _names(self) -> list[str]:
        return [path.name for path in self._path.parent.iterdir()]


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        pass  # Linux closes it nevertheless, and data that NFS could not write is lost


_PIECE: Final = 256 * 1024


def compress(path: Path) -> bool:
    """Compress a rotated file; return False if a worker still has it open, which lasts about a second.

    A worker holds a shared lock on the file that it writes to. Raises OSError.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return True  # another worker has compressed it
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        found = os.fstat(file.fileno())
        if found.st_nlink:
            part = path.with_name(f"{path.name}.gz.part")
            with igzip.open(part, "wb") as packed:  # type: ignore[no-untyped-call]
                shutil.copyfileobj(file, packed, _PIECE)
            part.chmod(found.st_mode & 0o777)
            os.utime(part, ns=(found.st_atime_ns, found.st_mtime_ns))
            part.rename(path.with_name(f"{path.name}.gz"))
            path.unlink()
    return True
