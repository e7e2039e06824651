"""The requests that wait to open a connection to a backend, because this turn of the loop has opened enough.

Responses are read at the beginning of a turn. So a thousand clients that become readable in one turn would open a
thousand connections, at 60 us each, where some dozens suffice. Therefore a turn opens at most half as many connections
as there are already, and at least 16; the other requests take in later turns what responses have returned. A backend
that is slow has its thousand connections after a dozen turns.
"""

from collections import deque
from typing import Any, Final

import gevent
from greenlet import getcurrent, greenlet

from gproxy.upstream.http1.idle import Idle

#: The number of connections that any turn may open.
_FEWEST: Final = 16


class DialQueue:
    """The queue of one backend, in the order of arrival."""

    __slots__ = ("_idle", "_is_resuming", "_left", "_timer", "_turn", "_waiting")

    def __init__(self, idle: Idle) -> None:
        self._idle = idle
        self._timer: Any = None
        #: The time of the turn that the loop is in, and how many connections it may still open.
        self._turn = 0.0
        self._left = 0
        self._waiting: deque[greenlet] = deque()
        self._is_resuming = False

    def __len__(self) -> int:
        return len(self._waiting)

    def may_dial(self, in_use: int) -> bool:
        """Return whether this turn may open one more connection, and count it; so many connections are in use.

        A request that comes while others wait has to wait behind them.
        """
        if self._waiting and not self._is_resuming:
            return False
        now: float = gevent.get_hub().loop.now()
        if now != self._turn:
            self._turn = now
            self._left = max(_FEWEST, in_use // 2)
        self._left -= 1
        return self._left >= 0

    def wait(self) -> None:
        """Wait for a later turn."""
        waiter = getcurrent()
        self._waiting.append(waiter)
        if self._timer is None:
            self._start_timer()
        try:
            gevent.get_hub().switch()
        except BaseException:
            self._waiting.remove(waiter)
            raise

    def _start_timer(self) -> None:
        # The loop calls expired timers after the backends' channels, which have priority, and before the clients'.
        self._timer = timer = gevent.get_hub().loop.timer(0.0)
        timer.start(self._on_turn, update=False)

    def _on_turn(self) -> None:
        """Resume as many requests as there are idle connections, and connections that this turn may open."""
        self._timer.close()
        self._timer = None
        now: float = gevent.get_hub().loop.now()
        waiting = self._waiting
        self._is_resuming = True
        try:
            for _ in range(len(waiting)):
                if not waiting or (now == self._turn and self._left <= 0 and not len(self._idle)):
                    break
                waiting.popleft().switch()
        finally:
            self._is_resuming = False
            if waiting and self._timer is None:
                self._start_timer()
