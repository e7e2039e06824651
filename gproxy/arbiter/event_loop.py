"""Signals and timers for the arbiter's selector; Python's own signal handlers run between any two instructions."""

import heapq
import itertools
import signal
import socket
from collections.abc import Callable, Mapping
from time import monotonic


class Signals:
    """A readable socket for signals, and the table of their handlers."""

    def __init__(self, table: Mapping[int, Callable[[], object]]) -> None:
        self._table = table
        self.socket, self._wakeup = socket.socketpair()
        for sock in (self.socket, self._wakeup):
            sock.setblocking(False)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        for number in table:
            signal.signal(number, nothing)

    def handle(self) -> None:
        """Call the handlers of the received signals, in their order."""
        for number in self.socket.recv(4096):
            handler = self._table.get(number)
            if handler:
                handler()


def nothing(*_: object) -> None:
    """Do nothing, as a signal handler: unlike SIG_IGN it is not inherited across exec."""


class Timers:
    """A heap of functions with the times at which to call them."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def after(self, seconds: float, function: Callable[[], object]) -> None:
        """Call the function once, after `seconds`."""
        heapq.heappush(self._heap, (monotonic() + seconds, next(self._order), function))

    def every(self, seconds: float, function: Callable[[], object]) -> None:
        """Call the function every `seconds`, first after `seconds`."""

        def again() -> None:
            self.after(seconds, again)
            function()

        self.after(seconds, again)

    def wait(self) -> float | None:
        """Return the seconds until the next call is due; None: no timer is set."""
        return max(self._heap[0][0] - monotonic(), 0.0) if self._heap else None

    def run(self) -> None:
        """Call the functions that are due."""
        now = monotonic()
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2]()
