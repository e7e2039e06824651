"""The end of endless responses: a tunnel or an event stream lasts no longer than the identity of its client."""

import time
from collections.abc import Callable
from typing import Final

from gproxy.http.deadline import Timer
from gproxy.http.request import Request
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.alarm import TimerWheel
from gproxy.runtime.client_watch import alarm_like

#: The timers of all endless responses.
_wheel: Final = TimerWheel()


class StreamEnd:
    """The end of one request's response at `expires`, in epoch seconds, if that response is endless.

    The limit has an alarm of its own: waits for the client move the deadline, and must not move this end.
    """

    __slots__ = ("_alarm", "_before", "_clock", "_deadline", "_expires", "_limit")

    def __init__(
        self, request: Request, expires: float, limit: TimeLimit, clock: Callable[[], float] = time.time
    ) -> None:
        self._expires, self._limit, self._clock = expires, limit, clock
        self._alarm: Timer | None = None
        self._deadline = request.deadline
        #: The end that another identity of this request has set.
        self._before = request.deadline.on_endless
        request.deadline.on_endless = self._begin
        request.at_end(self._close)

    def _begin(self) -> None:
        """Start the alarm, in the greenlet that sends the response; the first one to expire ends the response."""
        if self._before is not None:
            self._before()
        self._alarm = alarm_like(self._deadline, _wheel)
        self._alarm.set(self._deadline.clock() + self._expires - self._clock(), self._limit)

    def _close(self) -> None:
        if self._alarm is not None:
            self._alarm.close()
