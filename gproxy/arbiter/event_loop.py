"""Signals as something to select on: between any two instructions, where Python runs handlers, is no place to act."""

import heapq
import itertools
import signal
import socket
from collections.abc import Callable, Mapping
from time import monotonic


class Signals:
    """Calls what the table has for a signal, when told that there is one."""

    def __init__(self, table: Mapping[int, Callable[[], object]]) -> None:
        self._table = table
        self.socket, self._theirs = socket.socketpair()
        for sock in (self.socket, self._theirs):
            sock.setblocking(False)
        signal.set_wakeup_fd(self._theirs.fileno(), warn_on_full_buffer=False)
        for number in table:
            signal.signal(number, nothing)

    def handle(self) -> None:
        """Those that have come, in their order."""
        for number in self.socket.recv(4096):
            act = self._table.get(number)
            if act:
                act()


def nothing(*_: object) -> None:
    """A handler that does not count as one: unlike SIG_IGN it is not inherited by what is executed."""


class Timers:
    """Functions, each with the time at which it is to be called."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def after(self, seconds: float, function: Callable[[], object]) -> None:
        """Call it once, then."""
        heapq.heappush(self._heap, (monotonic() + seconds, next(self._order), function))

    def every(self, seconds: float, function: Callable[[], object]) -> None:
        """Call it again and again, first after `seconds`."""

        def again() -> None:
            self.after(seconds, again)
            function()

        self.after(seconds, again)

    def wait(self) -> float | None:
        """Seconds until the next one is due; None: there is none."""
        return max(self._heap[0][0] - monotonic(), 0.0) if self._heap else None

    def run(self) -> None:
        """Call those that are due."""
        now = monotonic()
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2]()
