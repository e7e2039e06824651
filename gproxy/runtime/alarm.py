"""An alarm for each connection, armed lazily, in a timer wheel that many connections share.

A timer for each request would cost a start and a stop, and almost none expires. Here a request only sets `expires`;
an armed timer that finds it in the future arms itself again. A connection needs no timer of the loop either: it is in a
slot of the wheel, and gets an exact timer only shortly before it expires.
"""

import math
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

import gevent
from greenlet import getcurrent, greenlet

from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired

#: The loop's clock lags behind `monotonic` by less than this many seconds.
_SLACK: Final = 0.001
#: The width of a slot, in seconds.
_SLOT: Final = 0.125
#: An alarm that fires later than this many seconds gives the loop a turn first.
_LATE: Final = 0.05
#: Below that of sockets, so that what has come in time is read first.
_PRIORITY: Final = -1


class TimerWheel:
    """The alarms by the time slot in which they expire, with one timer of the loop for the first slot."""

    def __init__(self) -> None:
        self._slots: dict[int, set[Alarm]] = {}
        self._timer: Any = None
        self._next = math.inf

    def add(self, alarm: "Alarm", expires: float) -> int:
        """Add the alarm to the slot in which it expires; return the slot's number, or 0 if the slot has begun."""
        number = int(expires / _SLOT)
        begins = number * _SLOT
        if begins <= monotonic():
            return 0
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = set()
            if begins < self._next:
                self._wake_at(begins)
        slot.add(alarm)
        return number

    def remove(self, alarm: "Alarm", number: int) -> None:
        """Remove an alarm that was moved or closed."""
        self._slots[number].discard(alarm)

    def _wake_at(self, begins: float) -> None:
        if self._timer is not None:
            self._timer.close()
        self._next = begins
        self._timer = _start_timer(begins, self._turn)

    def _turn(self) -> None:
        """Rearm the alarms of the slots that have begun: with an exact timer, or in a later slot."""
        now = monotonic() + _SLACK
        self._next = math.inf
        for number in [number for number in self._slots if number * _SLOT <= now]:
            for alarm in self._slots.pop(number):
                alarm.look()
        if self._slots:
            self._wake_at(min(self._slots) * _SLOT)


class Alarm:
    """A time limit of a greenlet: throws Expired into the greenlet, which always waits when the loop runs.

    Without an `owner` it is that of the greenlet that calls.
    """

    __slots__ = ("_armed", "_slot", "_timer", "_wheel", "expires", "greenlet", "limit")

    def __init__(self, wheel: TimerWheel, owner: greenlet | None = None) -> None:
        self.greenlet = getcurrent() if owner is None else owner
        #: Monotonic time at which `expires` is checked at the latest; infinite: not armed.
        self._armed = math.inf
        self._wheel = wheel
        self._slot = 0
        self._timer: Any = None
        #: Monotonic time of the limit; infinite: none.
        self.expires = math.inf
        self.limit = TimeLimit.IDLE

    def set(self, expires: float, limit: TimeLimit) -> None:
        """Set the limit to that time and name, in place of the previous one."""
        self.expires = expires
        self.limit = limit
        if expires < self._armed:
            self._arm(expires)

    def strike(self, limit: TimeLimit, is_valid: Callable[[], bool]) -> None:
        """Throw this limit when the loop turns, if it is still valid then; what `set` does meanwhile does not count."""
        gevent.get_hub().loop.run_callback(self._strike, limit, is_valid)

    def _strike(self, limit: TimeLimit, is_valid: Callable[[], bool]) -> None:
        if is_valid():
            self.expires = math.inf
            self.greenlet.throw(Expired(limit))

    def clear(self) -> None:
        """Remove the limit."""
        self.expires = math.inf

    def twin(self) -> "Alarm":
        """Return an alarm of the same wheel for the greenlet that calls; it must be closed."""
        return Alarm(self._wheel)

    def bound(self, seconds: float) -> Any:  # noqa: ANN401 gevent has no types
        """Return a block that ends silently after so many seconds."""
        return gevent.Timeout(seconds, False)

    def close(self) -> None:
        """Remove the alarm from the wheel, when its greenlet ends."""
        self._disarm()
        self.expires = math.inf

    def _arm(self, expires: float) -> None:
        self._disarm()
        self._armed = expires
        self._slot = self._wheel.add(self, expires)
        if not self._slot:
            self._timer = _start_timer(expires, self._fire)

    def _disarm(self) -> None:
        if self._slot:
            self._wheel.remove(self, self._slot)
            self._slot = 0
        elif self._timer is not None:
            self._timer.close()
            self._timer = None

    def look(self) -> None:
        """Arm the alarm again when its slot begins: `expires` may have changed since."""
        self._slot = 0
        self._armed = math.inf
        if self.expires != math.inf:
            self._arm(self.expires)

    def _fire(self) -> None:
        """Expire; but if the process has not run for a while, the loop looks first for what came meanwhile."""
        if monotonic() - self.expires < _LATE:
            self._expire()
        else:
            self._disarm()
            self._armed = self.expires
            self._timer = _start_timer(self.expires, self._expire)

    def _expire(self) -> None:
        self._disarm()
        self._armed = math.inf
        if self.expires == math.inf:
            return
        if self.expires - monotonic() > _SLACK:
            self._arm(self.expires)
            return
        self.expires = math.inf
        self.greenlet.throw(Expired(self.limit))


def _start_timer(when: float, callback: Callable[[], None]) -> Any:  # noqa: ANN401 gevent has no types
    timer = gevent.get_hub().loop.timer(max(when - monotonic(), 0.0), 0.0, True, _PRIORITY)
    timer.start(callback, update=True)
    return timer
