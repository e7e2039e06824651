"""Locks that all workers of a machine share, with an end: an entry of a table is held by one greenlet at a time."""

import os
from collections.abc import Callable
from functools import partial
from itertools import count
from types import TracebackType
from typing import Final, Self

from gevent import getcurrent

from gproxy.state.shared.memory import SharedState
from gproxy.state.table import LocalEntries, Packed, encoded, pack

#: The seconds of the first pause of a waiting greenlet, and of the longest while few wait.
_FIRST: Final = 0.001
_LONGEST: Final = 0.02
#: The seconds between two looks of a process: the more of its greenlets wait, the longer is the pause of each.
_LOOK_EVERY: Final = 0.001


class Locks:
    """The locks of this machine, as one process sees them.

    entries: the table of the holders. state: shows which processes live; None if there is only this one. pause: waits
    so many seconds, and raises what ends the wait of a request. report_full: is called when the table was full, so
    that the oldest lock was freed.
    """

    def __init__(
        self,
        entries: LocalEntries,
        state: SharedState | None,
        pause: Callable[[float], object],
        report_full: Callable[[], object],
    ) -> None:
        self.entries = entries
        self.pause = pause
        self._state = state
        self._report_full = report_full
        #: The number of greenlets of this process that wait for any lock.
        self._waiting = 0
        self._process = os.urandom(8).hex()
        self._numbers = count()
        if state is not None:
            state.lead(_living(self._process))

    def new_holder(self) -> Packed:
        """Return the name of another holder in this process."""
        return pack(f"{self._process} {next(self._numbers)}")

    def add(self, key: bytes, holder: Packed, ttl: float) -> bool:
        """Return whether the lock was free, and has this holder now."""
        before = self.entries.evicted
        is_free = self.entries.add(key, holder, ttl)
        if self.entries.evicted > before:
            self._report_full()
        return is_free

    def wait(self, is_taken: Callable[[], bool]) -> None:
        """Wait, and call the function from time to time, until it returns True."""
        self._waiting += 1
        try:
            pause = _FIRST
            self.pause(pause)
            while not is_taken():
                pause = min(2 * pause, max(_LONGEST, self._waiting * _LOOK_EVERY))
                self.pause(pause)
        finally:
            self._waiting -= 1

    def is_dead(self, holder: Packed) -> bool:
        """Return whether the process of a holder has ended, which costs a system call."""
        process = holder.data.decode().partition(" ")[0]
        return self._state is not None and process != self._process and not self._state.is_led(_living(process))


class Lock:
    """A lock, for a `with`. It frees itself `ttl` seconds after it was taken, and once the process of its holder ends.

    One that its own holder takes again waits for itself. Entering raises Expired at the deadline of the request that
    the greenlet serves, and ClientGone if its client leaves.
    """

    def __init__(self, name: str, locks: Locks, ttl: float) -> None:
        self.name = name
        self._key = encoded(name)
        self._locks = locks
        self._ttl = ttl
        #: By greenlet: its holder. After `ttl` a second one may be in the block, too.
        self._holders: dict[object, Packed] = {}

    def __repr__(self) -> str:
        return f"<Lock {self.name}>"

    def __enter__(self) -> Self:
        holder = self._locks.new_holder()
        if not self._take(holder):
            self._locks.wait(partial(self._take, holder))
        self._holders[getcurrent()] = holder
        return self

    def _take(self, holder: Packed) -> bool:
        if self._locks.add(self._key, holder, self._ttl):
            return True
        entries = self._locks.entries
        other = entries.get(self._key)
        return other is not None and self._locks.is_dead(other) and entries.swap(self._key, other, holder, self._ttl)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        holder = self._holders.pop(getcurrent(), None)
        if holder is not None:  # another may hold it by now, if its time has ended
            self._locks.entries.swap(self._key, holder, None, self._ttl)


def _living(process: str) -> str:
    """Return the name of the lock that a living process holds."""
    return f"lock holder {process}"
