"""The arbiter's event loop: readable sockets, signals and timers, one after the other."""

import heapq
import itertools
import selectors
import signal
import socket
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from typing import Final

#: A timer that is called later by so many seconds means that the process did not run.
_PAUSE: Final = 1.0


class EventLoop:
    """A loop that calls functions for readable sockets, received signals and elapsed times."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.is_stopped = False
        #: From the second of these Python writes the numbers of received signals to the first. Kept, to stay open.
        self._signal_sockets: tuple[socket.socket, ...] = ()
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self._after_each: list[Callable[[], object]] = []
        self._after_pause: list[Callable[[float], object]] = []
        #: Monotonic time at which the timers were looked at last.
        self._last_round = monotonic()

    def register(self, sock: socket.socket, function: Callable[[], object]) -> None:
        """Call the function whenever the socket is readable."""
        self._selector.register(sock, selectors.EVENT_READ, function)

    def unregister(self, sock: socket.socket) -> None:
        """Forget the socket, if it is registered."""
        if sock in self._selector.get_map():
            self._selector.unregister(sock)

    def handle_signals(self, table: Mapping[int, Callable[[], object]]) -> None:
        """Call the functions of the received signals, as events: Python's own handlers run between any instructions."""
        received, wakeup = self._signal_sockets = socket.socketpair()
        for sock in self._signal_sockets:
            sock.setblocking(False)
        self.register(received, partial(_call_handlers, received, table))
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        for number in table:
            signal.signal(number, nothing)

    @staticmethod
    def block_signals() -> None:
        """Block all signals for the rest of the process.

        At its end the interpreter restores the default handlers; a signal would then take the exit code's place.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    def after(self, seconds: float, function: Callable[[], object]) -> None:
        """Call the function once, after `seconds`."""
        heapq.heappush(self._timers, (monotonic() + seconds, next(self._order), function))

    def every(self, seconds: float, function: Callable[[], object]) -> None:
        """Call the function every `seconds`, first after `seconds`."""

        def again() -> None:
            self.after(seconds, again)
            function()

        self.after(seconds, again)

    def after_each(self, function: Callable[[], object]) -> None:
        """Call the function after each round of events."""
        self._after_each.append(function)

    def after_pause(self, function: Callable[[float], object]) -> None:
        """Call the function if this process did not run for a while, as if its container is paused.

        It gets the seconds since the process has certainly run.
        """
        self._after_pause.append(function)

    def run(self) -> None:
        """Wait for events and call their functions, until `stop`."""
        while not self.is_stopped:
            for key, _ in self._selector.select(self._wait()):
                if self._selector.get_map().get(key.fd) is key:  # else an earlier event of this round has ended it
                    key.data()
            self._call_due()
            for function in self._after_each:
                function()

    def stop(self) -> None:
        """End `run` after the events that are due."""
        self.is_stopped = True

    def _wait(self) -> float | None:
        """Return the seconds until the next timer is due; None: no timer is set."""
        return max(self._timers[0][0] - monotonic(), 0.0) if self._timers else None

    def _call_due(self) -> None:
        now = monotonic()
        if self._timers and now - self._timers[0][0] > _PAUSE:
            for function in self._after_pause:
                function(now - self._last_round)
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
        self._last_round = monotonic()


def _call_handlers(received: socket.socket, table: Mapping[int, Callable[[], object]]) -> None:
    for number in received.recv(4096):
        handler = table.get(number)
        if handler:
            handler()


def nothing(*_: object) -> None:
    """Do nothing, as a signal handler: unlike SIG_IGN it is not inherited across exec."""
