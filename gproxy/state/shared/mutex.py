"""Locks in memory that several processes map: robust, process-shared POSIX mutexes, through ctypes.

Locking a free mutex needs no system call. If the holder is killed, the kernel passes the mutex to the next process that
locks it. A stopped holder (SIGSTOP, a debugger) may hold a mutex for minutes: a process waits at most a second, then
continues without the mutex, and waits no more until it finds the mutex free. The guarded data is valid after every
single store, so each time that a process continues so costs one count at most. `exclusive_mutex` is for other data.
"""

import ctypes
import errno
import mmap
import time
from typing import Final

#: The distance between mutexes in bytes: a pthread_mutex_t has 40 (on some machines 48), and each gets a cache line.
_SPACING: Final = 64
#: The longest wait in seconds. A holder needs microseconds, but it may wait for a core.
_MAX_WAIT: Final = 1.0
_PARTS: Final = 10
#: After a wait in vain, skip waiting for that mutex for this many seconds, or until it is free.
_SKIP_WAIT: Final = 10.0

_PROCESS_SHARED: Final = 1
_ROBUST: Final = 1


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


_libc = ctypes.PyDLL(None)  # PERF: calls that never block keep the GIL
_waiting = ctypes.CDLL(None)
_try_lock = _libc.pthread_mutex_trylock
_unlock = _libc.pthread_mutex_unlock
_make_consistent = _libc.pthread_mutex_consistent
_try_lock.argtypes = _unlock.argtypes = _make_consistent.argtypes = (ctypes.c_void_p,)
_timed_lock = _waiting.pthread_mutex_timedlock
_timed_lock.argtypes = (ctypes.c_void_p, ctypes.POINTER(_Timespec))


class Mutex:
    """A context manager for one mutex. Do not lock it twice in a process, nor wait while holding it."""

    __slots__ = ("_address", "_skip_wait_until")

    def __init__(self, address: int) -> None:
        self._address = ctypes.c_void_p(address)
        self._skip_wait_until = 0.0

    def __enter__(self) -> None:
        if code := _try_lock(self._address):
            self._wait(code)
        elif self._skip_wait_until:  # the holder has gone on, and two processes without the mutex would lose counts
            self._skip_wait_until = 0.0

    def __exit__(self, *_: object) -> None:
        _unlock(self._address)  # fails, as it should, if this process did not get the lock

    def take(self, wait: float) -> bool:
        """Lock it, after a wait of at most so many seconds; return whether it is locked."""
        code = _try_lock(self._address)
        if code == errno.EBUSY and wait:
            code = _timed_lock(self._address, _after(wait))
        if code == errno.EOWNERDEAD:
            _make_consistent(self._address)
        return code in {0, errno.EOWNERDEAD}

    def _wait(self, code: int) -> None:
        if code == errno.EBUSY:
            if time.monotonic() < self._skip_wait_until:
                return
            code = self._patiently()
        if code == errno.EOWNERDEAD:
            _make_consistent(self._address)
        self._skip_wait_until = time.monotonic() + _SKIP_WAIT if code == errno.ETIMEDOUT else 0.0

    def _patiently(self) -> int:
        """Wait in several parts: if this process is stopped together with the holder, only one part ends in vain."""
        code = errno.ETIMEDOUT
        for _ in range(_PARTS):
            code = _timed_lock(self._address, _after(_MAX_WAIT / _PARTS))
            if code != errno.ETIMEDOUT:
                break
        return code


def _after(seconds: float) -> _Timespec:
    whole, part = divmod(time.time() + seconds, 1)
    return _Timespec(int(whole), int(part * 1e9))


def create(memory: mmap.mmap, count: int) -> None:
    """Initialize `count` mutexes at the beginning of the memory, before any other process maps it."""
    attributes = ctypes.create_string_buffer(64)
    _check(_libc.pthread_mutexattr_init(attributes))
    _check(_libc.pthread_mutexattr_setpshared(attributes, _PROCESS_SHARED))
    _check(_libc.pthread_mutexattr_setrobust(attributes, _ROBUST))
    first = ctypes.c_char.from_buffer(memory)
    for number in range(count):
        _check(_libc.pthread_mutex_init(ctypes.c_void_p(ctypes.addressof(first) + number * _SPACING), attributes))


def attach(memory: mmap.mmap, count: int) -> tuple[Mutex, ...]:
    """Return the mutexes that `create` initialized, in this process's mapping, which must stay."""
    first = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    return tuple(Mutex(first + number * _SPACING) for number in range(count))


def _check(code: int) -> None:
    if code:
        raise OSError(code, "a mutex cannot be created")
