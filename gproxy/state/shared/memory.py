"""Memory that the arbiter makes and every worker maps: what several processes must agree on.

At its beginning are the mutexes, then a directory of named areas, then the areas. An area is found by its name, so
that a new generation finds what an old one has left, whatever else has changed in the settings. All of it is zero at
first, and written in such an order that every single store of 8 bytes leaves it valid: a process may be killed
between any two of them. Record locks on the file say who lives: the kernel gives them up when a process ends.

The arbiter only makes the file; it stays small and loads neither ctypes nor hashlib.
"""

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

#: What is mapped at most, in bytes; only pages that were touched cost memory. A limit on addresses (ulimit -v) does
#: count it all, so under one it is a quarter of what there is.
_SIZE: Final = 1024 * 1024 * 1024
#: The first guards the directory, each other one a share of what is common.
_MUTEXES: Final = 256
#: How many areas there can be.
_PLACES: Final = 8192
_SECRET: Final = _MUTEXES * 64
_SECRET_SIZE: Final = 16
_READY: Final = _SECRET + _SECRET_SIZE
_DIRECTORY: Final = _SECRET + 64
_AREAS: Final = _DIRECTORY + 3 * 8 * _PLACES
_LINE: Final = 64
#: Names of another layout are other names. To be counted up when what is kept under one changes its form.
_LAYOUT: Final = 1

# Which bytes of the file stand for what; they lie behind its end, where locks can be all the same.
_MAKING: Final = 1 << 39
_IN_USE: Final = 1 << 40
_LEADERS: Final = 1 << 48
#: A struct flock: kind, whence, start, length, process.
_LOCK: Final = struct.Struct("hhqqi4x")

_log = logging.getLogger("gproxy")


class Region:
    """A piece of the memory, seen as bytes, as numbers of 8 and of 4 bytes, and as floats."""

    __slots__ = ("data", "floats", "quads", "size", "words")

    def __init__(self, data: memoryview) -> None:
        self.size = len(data)
        self.data = data
        self.words = data.cast("Q")
        self.floats = data.cast("d")
        self.quads = data.cast("I")

    def wipe(self) -> None:
        """All zero, as it was at first."""
        self.data[:] = bytes(self.size)


class SharedState:
    """A memory file, known by its descriptor, which is inherited. Bounded; it outlives any single worker.

    One object a process, and nobody else may open or close the file in it: record locks end with the first close.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._held: set[int] = set()

    @classmethod
    def create(cls) -> "SharedState":
        """For the arbiter. Raises OSError."""
        fd = os.memfd_create("gproxy-state")
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        size = _SIZE if limit == resource.RLIM_INFINITY else min(_SIZE, limit // 4)
        os.ftruncate(fd, max(size, _AREAS))
        return cls(fd)

    @cached_property
    def _memory(self) -> mmap.mmap:
        """Made ready by the first who maps it."""
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
        """What nobody outside knows: for digests that no client can foresee."""
        return self._memory[_SECRET:_READY]

    @cached_property
    def _mutexes(self) -> "tuple[Mutex, ...]":
        from gproxy.state.shared import mutex

        return mutex.attach(self._memory, _MUTEXES)

    @cached_property
    def _columns(self) -> tuple[memoryview, memoryview, memoryview]:
        """The directory: digests of names, where each area begins, how long it is."""
        words = memoryview(self._memory)[_DIRECTORY:_AREAS].cast("Q")
        return words[:_PLACES], words[_PLACES : 2 * _PLACES], words[2 * _PLACES :]

    def mutexes(self, name: str) -> "Callable[[int], Mutex]":
        """Number to mutex: so many for whoever keeps something under this name; any number will do."""
        first, rest = _digest(name), self._mutexes[1:]
        return lambda number: rest[(first + number) % len(rest)]

    def area(self, name: str, size: int) -> Region | None:
        """The area of that name, `size` bytes unless it was there before; None, and a line in the log, if it is full.

        As long as this process lives it is not given to others; after that it stays while there is room.
        """
        digest = _digest(name)
        with self._mutexes[0]:
            place = self._find(digest)
            if place is None:
                place = self._allocate(digest, size)
            if place is None:
                _log.warning("%s: no room in the memory shared by the workers; each counts for itself", name)
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
        """A place in the directory for so many bytes, if need be after throwing out what nobody uses any more."""
        size = -(-size // _LINE) * _LINE
        if not self._gap(size) or self._find(0) is None:
            self._reclaim()
        begin, place = self._gap(size), self._find(0)
        if not begin or place is None:
            return None
        digests, begins, sizes = self._columns
        begins[place], sizes[place] = begin, size
        digests[place] = digest  # last: this makes it valid
        return place

    def _gap(self, size: int) -> int:
        """Where so many bytes are free; 0 if nowhere."""
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
        """Is it this process that does what one of all has to do? Once it is, it is so until it ends or resigns."""
        return self._lock(_leader(name))

    def resign(self, name: str) -> None:
        """Leave it to another."""
        fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, _leader(name))

    def is_led(self, name: str) -> bool:
        """Does another process do it?"""
        asked = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _leader(name), 1, 0)
        kind, *_ = _LOCK.unpack(fcntl.fcntl(self.fd, fcntl.F_GETLK, asked))
        return int(kind) != fcntl.F_UNLCK

    def _lock(self, byte: int) -> bool:
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError:
            return False
        return True


def _digest(name: str) -> int:
    """Never 0, which is an empty place."""
    from hashlib import blake2b

    return int.from_bytes(blake2b(f"{_LAYOUT}:{name}".encode(), digest_size=8).digest(), "little") | 1


def _leader(name: str) -> int:
    return _LEADERS + (_digest(name) >> 20)


def _zero(memory: mmap.mmap, begin: int, size: int) -> None:
    """Whole pages go back to the system, and are zero when they are asked for again."""
    end = begin + size
    first, last = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
    if first >= last:
        memory[begin:end] = bytes(size)
        return
    memory[begin:first] = bytes(first - begin)
    memory[last:end] = bytes(end - last)
    memory.madvise(mmap.MADV_REMOVE, first, last - first)
