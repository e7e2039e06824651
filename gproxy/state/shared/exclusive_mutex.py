"""A mutex of several processes for data that two at once would damage.

A holder may be stopped for minutes (SIGSTOP, a debugger). Then a greenlet waits a second while the others of its
process go on, and fails. No block runs without the mutex: the stopped holder would go on in data that was changed.
"""

import time
from collections.abc import Callable
from typing import Final

from gproxy.state.shared.mutex import Mutex
from gproxy.state.store import StoreUnavailableError

#: The longest wait in seconds. After one in vain all fail at once for as long, or until the mutex is free.
_MAX_WAIT: Final = 1.0
#: The wait of a whole process: a running holder needs less, unless it waits for a core.
_SHORT_WAIT: Final = 0.002
#: The pause of a greenlet between two looks.
_PAUSE: Final = 0.005


class ExclusiveMutex:
    """A context manager for one mutex, without which the block does not run: entering raises StoreUnavailableError.

    `sleep` lets other greenlets run. Do not lock it twice in a thread, nor wait while holding it.
    """

    __slots__ = ("_is_busy", "_mutex", "_skip_wait_until", "_sleep")

    def __init__(self, mutex: Mutex, sleep: Callable[[float], object]) -> None:
        self._mutex = mutex
        self._sleep = sleep
        #: True while a greenlet of this process waits: then the next one does not make the whole process wait, too.
        self._is_busy = False
        self._skip_wait_until = 0.0

    def __enter__(self) -> None:
        if not self._take():
            self._wait()

    def __exit__(self, *_: object) -> None:
        self._mutex.__exit__()

    def _take(self) -> bool:
        is_locked = self._mutex.take(0.0 if self._is_busy else _SHORT_WAIT)
        self._is_busy = not is_locked
        if is_locked:
            self._skip_wait_until = 0.0
        return is_locked

    def _wait(self) -> None:
        ends = time.monotonic() + _MAX_WAIT
        while self._skip_wait_until <= (now := time.monotonic()) < ends:
            self._sleep(_PAUSE)
            if self._take():
                return
        if now >= ends:
            self._skip_wait_until = now + _MAX_WAIT
        raise StoreUnavailableError("a worker that does not run is in the middle of a change")
