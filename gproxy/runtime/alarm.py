"""One timer a connection, armed lazily, in a wheel that they all share.

A timer a request costs a start and a stop for something that almost never happens. Here a request only notes when
it expires; whoever looks at the note later sleeps on if that lies ahead. Nor does a connection need a timer of the
loop: it stands in a slot of the wheel, and only in the last moment before it expires gets one that is exact.
"""

import math
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

import gevent
from greenlet import getcurrent

from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired

#: A loop's clock may lag behind ours by less than this, in seconds.
_SLACK: Final = 0.001
#: The width of a slot, in seconds.
_SLOT: Final = 0.125


class TimerWheel:
    """Alarms by the slot of time in which they expire; one timer of the loop for the slot that comes first."""

    def __init__(self) -> None:
        self._slots: dict[int, set[Alarm]] = {}
        self._timer: Any = None
        self._next = math.inf

    def add(self, alarm: "Alarm", expires: float) -> int:
        """Look at it when the slot begins in which it expires; the slot's number, or 0 if that has begun."""
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
        """It was moved, or closed."""
        self._slots[number].discard(alarm)

    def _wake_at(self, begins: float) -> None:
        if self._timer is not None:
            self._timer.close()
        self._next = begins
        self._timer = _start_timer(begins, self._turn)

    def _turn(self) -> None:
        """Those that really expire in the slots that have begun get an exact timer, the others a later slot."""
        now = monotonic() + _SLACK
        self._next = math.inf
        for number in [number for number in self._slots if number * _SLOT <= now]:
            for alarm in self._slots.pop(number):
                alarm.look()
        if self._slots:
            self._wake_at(min(self._slots) * _SLOT)


class Alarm:
    """Throws Expired into its greenlet, which must be waiting by then, as everything that blocks here does."""

    __slots__ = ("_armed", "_slot", "_timer", "_wheel", "expires", "greenlet", "limit")

    def __init__(self, wheel: TimerWheel) -> None:
        self.greenlet = getcurrent()
        #: When somebody looks at the note, at the latest.
        self._armed = math.inf
        self._wheel = wheel
        self._slot = 0
        self._timer: Any = None
        #: On the monotonic clock; infinite: never.
        self.expires = math.inf
        self.limit = TimeLimit.IDLE

    def set(self, expires: float, limit: TimeLimit) -> None:
        """Expire then, and no more when it was set to before."""
        self.expires = expires
        self.limit = limit
        if expires < self._armed:
            self._arm(expires)

    def clear(self) -> None:
        """Do not expire at all."""
        self.expires = math.inf

    def close(self) -> None:
        """Take it out; the greenlet has ended."""
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
        """Its slot has begun, which does not mean much: the note may have been changed since."""
        self._slot = 0
        self._armed = math.inf
        if self.expires != math.inf:
            self._arm(self.expires)

    def _fire(self) -> None:
        self._disarm()
        self._armed = math.inf
        if self.expires == math.inf:
            return
        if self.expires - monotonic() > _SLACK:
            self._arm(self.expires)
            return
        self.expires = math.inf
        self.greenlet.throw(Expired(self.limit))


def _start_timer(when: float, callback: Callable[[], None]) -> Any:
    timer = gevent.get_hub().loop.timer(max(when - monotonic(), 0.0))
    timer.start(callback, update=True)
    return timer
