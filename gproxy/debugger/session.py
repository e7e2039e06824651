"""A session of pdb on one request, over a terminal. While the request is stopped, its clocks stand still.

One session runs in a worker at a time. The greenlet of the request waits for the terminal as for any other socket.
"""

import logging
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from types import FrameType
from typing import Any, Final

from gevent.lock import BoundedSemaphore
from greenlet import getcurrent, greenlet

from gproxy.config.types.units import write_seconds
from gproxy.debugger.prompt import Prompt
from gproxy.debugger.terminal import Terminal
from gproxy.debugger.trace_filter import TRACES
from gproxy.http.client_stream import ClientStream
from gproxy.http.phase import DEBUG
from gproxy.http.request import Request
from gproxy.runtime.alarm import Alarm

_log = logging.getLogger("gproxy")
#: Seconds that a terminal has at least to take what is shown.
_PATIENCE: Final = 1.0


class SessionTurn:
    """The turn that a session needs: one at a time in this process."""

    def __init__(self) -> None:
        self._free = BoundedSemaphore()
        self._session: DebugSession | None = None

    def take(self, *, wait: bool) -> bool:
        """Take the turn, and return whether it was free or has become so."""
        return bool(self._free.acquire(blocking=wait))

    def begin(self, session: "DebugSession") -> None:
        """Note the session that has the turn."""
        self._session = session

    def give_back(self) -> None:
        """Let another session run."""
        self._session = None
        self._free.release()

    def of_greenlet(self) -> "DebugSession | None":
        """Return the session on the greenlet that calls."""
        session = self._session
        return session if session is not None and session.owner is getcurrent() else None


#: The turn of this process.
TURN: Final = SessionTurn()


class DebugSession:
    """pdb on the greenlet that makes it, which serves `request`, if it serves one. It needs the turn, and ends it.

    hold: seconds for which the request may be stopped, in all.
    """

    def __init__(self, terminal: Terminal, request: Request | None, hold: float) -> None:
        #: The greenlet that is debugged.
        self.owner: greenlet = getcurrent()
        self._terminal = terminal
        self._request = request
        self._hold = hold
        #: The seconds of `hold` that are left, and when they end in the present stop.
        self._left = hold
        self._ends = monotonic() + hold
        self._client_has_event = False
        self._client: ClientStream | None = None
        self._client_watch: Any = None
        self._has_ended = False
        self._prompt = Prompt(self, self._stopped, self.end)
        TURN.begin(self)
        if request is not None:
            _log.warning("%s: stopped by a debugger", _name(request))
            self.notify(f"{_name(request)} from {request.client}; q lets it go on{self._limit()}")

    def _limit(self) -> str:
        return "" if self._hold == math.inf else f"; it goes on by itself after {write_seconds(self._hold)}"

    # Ways to stop.

    def step_into(self) -> None:
        """Stop at the first line of what the caller calls next."""
        frame = sys._getframe(1)  # noqa: SLF001 the frames from the caller outwards
        self._prompt.begin(frame)
        frame.f_trace = None
        self._prompt.enter()

    def stop_at(self, frame: FrameType) -> None:
        """Stop at the next line of a frame of this greenlet; the caller must return to it at once.

        Before Python 3.13, only a stop by the trace function lets the prompt assign to locals.
        """
        prompt = self._prompt
        if prompt.is_stopped:  # a command at the prompt has called breakpoint()
            return
        prompt.begin(frame)
        prompt.set_step()
        TRACES.add(prompt.trace_dispatch)

    def stop_now(self, frame: FrameType) -> None:
        """Stop before an action: at a frame of the debugger itself, whose line is not shown."""
        prompt = self._prompt
        prompt.begin(frame)
        prompt.set_step()
        self.notify("before the action of the route; request is a local")
        prompt.setup(frame, None)
        prompt.cmdloop()
        prompt.forget()
        if not prompt.is_over:
            TRACES.add(prompt.trace_dispatch)

    def stop_in(self, frame: FrameType) -> Any:  # noqa: ANN401 as in sys.settrace
        """Stop now, at the frame whose trace function calls; return what traces it from here on."""
        prompt = self._prompt
        prompt.begin(frame)
        prompt.set_step()
        TRACES.add(prompt.trace_dispatch)
        prompt.interaction(frame, None)
        return None if prompt.is_over else prompt.trace_dispatch

    def examine(self, error: BaseException) -> None:
        """Show the place of an exception that is being handled, with its frames and values."""
        self.notify(f"{type(error).__name__}: {error}")
        self._prompt.reset()
        with suppress(AttributeError):  # without a traceback there is nothing to show
            self._prompt.interaction(None, _innermost_first(error))
        self.end()

    def end(self) -> None:
        """End the session; the request goes on."""
        if self._has_ended:
            return
        self._has_ended = True
        self._ends = 0.0
        self._prompt.detach()
        if self._request is not None:
            self.notify("the request goes on")
            _log.info("%s: goes on after a debugger", _name(self._request))
        self._terminal.close()
        TURN.give_back()

    # The console of pdb.

    def readline(self) -> str:
        """Return the next line of the terminal; an empty text once the terminal is lost or the time is over."""
        while True:
            left = self._ends - monotonic()
            if left <= 0:
                self.notify(f"the time of {write_seconds(self._hold)} is over")
                return ""
            line = self._terminal.line(left)
            if self._client_has_event:
                self._look_at_client()
            if line is not None:
                return line

    def write(self, text: str) -> int:
        """Write to the terminal. One that does not read does not stop the request beyond its time."""
        self._terminal.write(text, max(self._ends - monotonic(), _PATIENCE))
        return len(text)

    def flush(self) -> None:
        """Do nothing: nothing is kept."""

    def notify(self, text: str) -> None:
        """Show a line that is not pdb's."""
        self.write(f"--- {text} ---\n")

    # The time in which the request is stopped.

    @contextmanager
    def _stopped(self) -> Iterator[None]:
        began = monotonic()
        self._ends = began + self._left
        with paused(self._request):
            self._watch_client()
            try:
                yield
            finally:
                self._unwatch_client()
                self._left -= monotonic() - began

    def _watch_client(self) -> None:
        client = self._request.client_stream if self._request is not None else None
        if client is not None and client.in_own_greenlet() and client.can_detect_close() and not client.is_closed:
            self._client, self._client_watch = client, client.watch(self)

    def _unwatch_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.watch(self._client_watch)

    def switch(self, _: object) -> None:
        """Note that the client has sent something or has left; the event loop calls this."""
        self._client_has_event = True
        self._terminal.wake()

    def _look_at_client(self) -> None:
        self._client_has_event = False
        client = self._client
        self._unwatch_client()
        if client is None:
            return
        if client.is_gone():
            self.notify("the client has left")
        else:
            self._watch_client()


@contextmanager
def paused(request: Request | None) -> Iterator[None]:
    """Stop the clocks of the request within the block, and show that it is debugged."""
    if request is None:
        yield
        return
    deadline, phase = request.deadline, request.phase
    timer, began = deadline.timer, deadline.clock()
    alarm = timer if isinstance(timer, Alarm) else None
    expires, limit = (alarm.expires, alarm.limit) if alarm is not None else (math.inf, None)
    if alarm is not None:
        alarm.clear()
    request.phase = DEBUG
    try:
        yield
    finally:
        waited = deadline.clock() - began
        request.phase = phase
        deadline.hold(waited)
        if alarm is not None and limit is not None:
            alarm.set(expires + waited, limit)


def _name(request: Request) -> str:
    return f"{request.id} {request.method} {request.path}"


def _innermost_first(error: BaseException) -> Any:  # noqa: ANN401 pdb of each version takes another type
    """Return what the prompt of this version of Python takes for an exception."""
    return error if sys.version_info >= (3, 13) else error.__traceback__
