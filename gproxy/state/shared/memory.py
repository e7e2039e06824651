"""Memory that the arbiter creates and every worker maps, for state that several processes share.

The mutexes come first, then a directory of named areas, then the areas. Areas are found by name, so that a new
generation finds the areas of the old one, whatever else changes in the settings. All memory is zero at first. The order
of writes keeps it valid after every single store of 8 bytes, because a process may be killed between any two stores.
Record locks on the file show which processes live: the kernel releases them when a process ends.

The arbiter only creates the file; it stays small and loads neither ctypes nor hashlib.
"""

import errno
import fcntl
import logging
import mmap
import os
import resource
import struct
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gproxy.state.shared.mutex import Mutex

#: The mapped size in bytes; only touched pages cost memory. A limit on addresses (ulimit -v) counts all of it, so under
#: such a limit a quarter of the limit is mapped; a limit on the size of files (ulimit -f) holds for it too.
_SIZE: Final = 1024 * 1024 * 1024
#: The number of mutexes: the first guards the directory, each other one a share of the areas.
_MUTEXES: Final = 256
#: The most areas.
_PLACES: Final = 8192
_SECRET: Final = _MUTEXES * 64
_SECRET_SIZE: Final = 16
_READY: Final = _SECRET + _SECRET_SIZE
_DIRECTORY: Final = _SECRET + 64
_AREAS: Final = _DIRECTORY + 3 * 8 * _PLACES
_LINE: Final = 64
#: Part of each name's digest. Increase it when the format of an area changes, so that old areas are not found.
_LAYOUT: Final = 1

# Bytes of the file that serve as locks; they are beyond its end, which record locks permit.
_MAKING: Final = 1 << 39
_IN_USE: Final = 1 << 40
_LEADERS: Final = 1 << 48
#: A struct flock: kind, whence, start, length, process.
_LOCK: Final = struct.Struct("hhqqi4x")

_log = logging.getLogger("gproxy")


class Region:
    """A part of the memory, as bytes, as 8-byte and 4-byte numbers, and as floats."""

    __slots__ = ("data", "floats", "quads", "size", "words")

    def __init__(self, data: memoryview) -> None:
        self.size = len(data)
        self.data = data
        self.words = data.cast("Q")
        self.floats = data.cast("d")
        self.quads = data.cast("I")

    def wipe(self) -> None:
        """Set all bytes to zero."""
        self.data[:] = bytes(self.size)


class SharedState:
    """A memory file with an inherited descriptor. Its size is bounded; it survives every worker.

    Create one object per process, and open or close the file nowhere else: the first close releases all record locks.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._held: set[int] = set()

    @classmethod
    def create(cls) -> "SharedState":
        """Create the file, in the arbiter. Raises OSError."""
        largest_file = _limit(resource.RLIMIT_FSIZE)
        if largest_file < _AREAS:
            problem = f"files may have {largest_file} bytes (ulimit -f); the workers share memory of at least {_AREAS}"
            raise OSError(errno.EFBIG, problem)
        fd = os.memfd_create("gproxy-state")
        size = min(_SIZE, _limit(resource.RLIMIT_AS) // 4, largest_file)
        os.ftruncate(fd, max(size, _AREAS))
        return cls(fd)

    @cached_property
    def _memory(self) -> mmap.mmap:
        """The mapped file. The first process that maps it also initializes it."""
        from gproxy.state.shared import mutex

        memory = mmap.mmap(self.fd, os.fstat(self.fd).st_size)
        fcntl.lockf(self.fd, fcntl.LOCK_EX, 1, _MAKING)
        if not memory[_READY]:
            mutex.create(memory, _MUTEXES)
            memory[_SECRET:_READY] = os.urandom(_SECRET_SIZE)
            memory[_READY] = 1
        fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, _MAKING)
        return memory

    @cached_property
    def secret(self) -> bytes:
        """A random secret, for digests that clients cannot predict."""
        return self._memory[_SECRET:_READY]

    @cached_property
    def _mutexes(self) -> "tuple[Mutex, ...]":
        from gproxy.state.shared import mutex

        return mutex.attach(self._memory, _MUTEXES)

    @cached_property
    def _columns(self) -> tuple[memoryview, memoryview, memoryview]:
        """The columns of the directory: digest of the name, begin, and size of each area."""
        words = memoryview(self._memory)[_DIRECTORY:_AREAS].cast("Q")
        return words[:_PLACES], words[_PLACES : 2 * _PLACES], words[2 * _PLACES :]

    def mutexes(self, name: str) -> "Callable[[int], Mutex]":
        """Return a function from any number to a mutex, for state under this name."""
        rest = self._mutexes[1:]
        count = len(rest)
        first = _digest(name) % count  # PERF: small numbers
        return lambda number: rest[(first + number) % count]

    def area(self, name: str, size: int) -> Region | None:
        """Return the area of that name; None, with a log line, if the memory is full.

        A new area has `size` bytes; an existing one keeps its size. No other name gets the area while this process
        lives. After that the area stays until its memory is needed.
        """
        digest = _digest(name)
        with self._mutexes[0]:
            place = self._find(digest)
            if place is None:
                place = self._allocate(digest, size)
            if place is None:
                _log.warning("%s: no room in the memory shared by the workers; each worker counts separately", name)
                return None
            self._hold(place)
            _, begins, sizes = self._columns
            return Region(memoryview(self._memory)[begins[place] : begins[place] + sizes[place]])

    def _find(self, digest: int) -> int | None:
        try:
            return self._columns[0].tolist().index(digest)
        except ValueError:
            return None

    def _allocate(self, digest: int, size: int) -> int | None:
        """Return a new place in the directory. Free unused areas if there is no room."""
        size = -(-size // _LINE) * _LINE
        if not self._gap(size) or self._find(0) is None:
            self._reclaim()
        begin, place = self._gap(size), self._find(0)
        if not begin or place is None:
            return None
        digests, begins, sizes = self._columns
        begins[place], sizes[place] = begin, size
        digests[place] = digest  # last, because this store makes the entry valid
        return place

    def _gap(self, size: int) -> int:
        """Return the begin of a gap of this size; 0 without one."""
        digests, begins, sizes = self._columns
        taken = sorted((begins[place], sizes[place]) for place, digest in enumerate(digests.tolist()) if digest)
        at = _AREAS
        for begin, length in taken:
            if begin - at >= size:
                return at
            at = begin + length
        return at if min(_SIZE, len(self._memory)) - at >= size else 0

    def _reclaim(self) -> None:
        digests, begins, sizes = self._columns
        for place, digest in enumerate(digests.tolist()):
            if digest and place not in self._held and self._lock(_IN_USE + place):
                _zero(self._memory, begins[place], sizes[place])
                digests[place] = 0
                fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, _IN_USE + place)

    def _hold(self, place: int) -> None:
        self._held.add(place)
        fcntl.lockf(self.fd, fcntl.LOCK_SH, 1, _IN_USE + place)

    def lead(self, name: str) -> bool:
        """Return whether this process is the leader for the name. It stays the leader until it ends or resigns."""
        return self._lock(_leader(name))

    def resign(self, name: str) -> None:
        """Stop being the leader for the name."""
        fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, _leader(name))

    def is_led(self, name: str) -> bool:
        """Return whether another process is the leader for the name."""
        query = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _leader(name), 1, 0)
        kind, *_ = _LOCK.unpack(fcntl.fcntl(self.fd, fcntl.F_GETLK, query))
        return int(kind) != fcntl.F_UNLCK

    def _lock(self, byte: int) -> bool:
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError:
            return False
        return True


def _limit(kind: int) -> int:
    """Return the soft limit of the process in bytes; without one, more than any size."""
    limit, _ = resource.getrlimit(kind)
    return 1 << 62 if limit == resource.RLIM_INFINITY else limit


def _digest(name: str) -> int:
    """Return the digest of a name; never 0, which marks a free place."""
    from hashlib import blake2b

    return int.from_bytes(blake2b(f"{_LAYOUT}:{name}".encode(), digest_size=8).digest(), "little") | 1


def _leader(name: str) -> int:
    return _LEADERS + (_digest(name) >> 20)


def _zero(memory: mmap.mmap, begin: int, size: int) -> None:
    """Zero the bytes. Whole pages return to the system, which zeroes them on the next use."""
    end = begin + size
    first, last = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
    if first >= last:
        memory[begin:end] = bytes(size)
        return
    memory[begin:first] = bytes(first - begin)
    memory[last:end] = bytes(end - last)
    memory.madvise(mmap.MADV_REMOVE, first, last - first)
