"""Locks in memory that several processes map: POSIX's robust, process-shared mutexes, through ctypes.

Taking a free one is no system call. If its holder is killed, the kernel gives it to the next who asks. A holder may
also be stopped (SIGSTOP, a debugger) and hold it for minutes: nobody waits longer than a second, then goes on without
it. What is guarded is written so that each single store leaves it valid: at worst a count is off by one.
"""

import ctypes
import errno
import mmap
import time
from typing import Final

#: Bytes from one mutex to the next: a pthread_mutex_t has 40, or 48 on some machines; a cache line each.
_SPACING: Final = 64
#: Seconds to wait for a holder, whose business takes microseconds; but it may lack a core, or all may.
_PATIENCE: Final = 1.0
#: How long a mutex that was waited for in vain is not waited for again, in seconds.
_RESIGNED: Final = 10.0

_PROCESS_SHARED: Final = 1
_ROBUST: Final = 1


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


_libc = ctypes.PyDLL(None)  # PERF: what never blocks keeps the interpreter's own lock
_waiting = ctypes.CDLL(None)
_try_lock = _libc.pthread_mutex_trylock
_unlock = _libc.pthread_mutex_unlock
_make_consistent = _libc.pthread_mutex_consistent
_try_lock.argtypes = _unlock.argtypes = _make_consistent.argtypes = (ctypes.c_void_p,)
_timed_lock = _waiting.pthread_mutex_timedlock
_timed_lock.argtypes = (ctypes.c_void_p, ctypes.POINTER(_Timespec))


class Mutex:
    """One of them, for `with`. Not to be taken twice by the same process, nor held over anything that waits."""

    __slots__ = ("_address", "_resigned_until")

    def __init__(self, address: int) -> None:
        self._address = ctypes.c_void_p(address)
        self._resigned_until = 0.0

    def __enter__(self) -> None:
        if code := _try_lock(self._address):
            self._wait(code)

    def __exit__(self, *_: object) -> None:
        _unlock(self._address)  # refused, and rightly, if it was not we who got it

    def _wait(self, code: int) -> None:
        if code == errno.EBUSY and time.monotonic() >= self._resigned_until:
            code = _timed_lock(self._address, _after(_PATIENCE))
            if code == errno.ETIMEDOUT:
                self._resigned_until = time.monotonic() + _RESIGNED
        if code == errno.EOWNERDEAD:
            _make_consistent(self._address)


def _after(seconds: float) -> _Timespec:
    whole, part = divmod(time.time() + seconds, 1)
    return _Timespec(int(whole), int(part * 1e9))


def create(memory: mmap.mmap, count: int) -> None:
    """Make `count` mutexes at the beginning of the memory, once, before anybody else maps it."""
    attributes = ctypes.create_string_buffer(64)
    _check(_libc.pthread_mutexattr_init(attributes))
    _check(_libc.pthread_mutexattr_setpshared(attributes, _PROCESS_SHARED))
    _check(_libc.pthread_mutexattr_setrobust(attributes, _ROBUST))
    first = ctypes.c_char.from_buffer(memory)
    for number in range(count):
        _check(_libc.pthread_mutex_init(ctypes.c_void_p(ctypes.addressof(first) + number * _SPACING), attributes))


def attach(memory: mmap.mmap, count: int) -> tuple[Mutex, ...]:
    """Those that `create` has made, in this process's mapping, which must stay."""
    first = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    return tuple(Mutex(first + number * _SPACING) for number in range(count))


def _check(code: int) -> None:
    if code:
        raise OSError(code, "a mutex cannot be made")
