"""`time_limit` of a handler: a bound on its own time, before and after `next`.

The time is paused while `next` runs, and while the gateway waits for the client.
"""

from collections.abc import Callable
from typing import Any, Final

from gproxy.http.deadline import Deadline
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.alarm import TimerWheel
from gproxy.runtime.client_watch import alarm_like

#: The alarms of handlers that run in other greenlets than the connection's.
_wheel: Final = TimerWheel()


class HandlerTimeLimit:
    """A handler under a limit. A call raises Expired with this limit, the same object, at the end of its own time."""

    def __init__(self, name: str, seconds: float, call: Callable[[Request, Next], Any]) -> None:
        self.limit = TimeLimit.HANDLER.of(seconds, f"time_limit of [handler:{name}]")
        self._seconds = seconds
        self._call = call

    def __call__(self, request: Request, next: Next) -> Any:  # noqa: ANN401 a handler may return anything
        client = request.client_stream
        deadline: Deadline = request.deadline
        if client is None or client.in_own_greenlet():
            return self._within(deadline, request, next)
        alarm = alarm_like(deadline, _wheel)
        try:
            return self._within(Deadline(alarm, deadline.clock), request, next)
        finally:
            alarm.close()

    def _within(self, time: Deadline, request: Request, next: Next) -> Any:  # noqa: ANN401 a handler may return anything
        following = _PausedNext(next, time, self.limit)
        time.begin_own(self.limit, self._seconds)
        try:
            return self._call(request, following)
        finally:
            following.has_ended = True
            time.end_own()


class _PausedNext:
    """The rest of the chain, in which the own time of the handler is paused; calls may run side by side."""

    __slots__ = ("_left", "_limit", "_next", "_running", "_time", "has_ended")

    def __init__(self, next: Next, time: Deadline, limit: TimeLimit) -> None:
        self._next = next
        self._time = time
        self._limit = limit
        self._running = 0
        self._left = 0.0
        #: True once the handler has returned; a call in another greenlet may go on.
        self.has_ended = False

    def __call__(self, request: Request) -> Response:
        if not self._running and not self.has_ended:
            self._left = self._time.end_own()
        self._running += 1
        try:
            return self._next(request)
        finally:
            self._running -= 1
            if not self._running and not self.has_ended:
                self._time.begin_own(self._limit, self._left)
