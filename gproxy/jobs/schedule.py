"""The times at which a job runs: the multiples of a time, or times of day in the zone of the worker."""

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from gproxy.config.sections.job import DayTime

#: Returns the local time with its offset, of seconds since the epoch.
Local = Callable[[float], datetime]

_MINUTE: Final = timedelta(minutes=1)
#: The most minutes that a clock is set forward at once: an island has crossed the date line by a day.
_LONGEST_GAP: Final = 25 * 60


class Schedule(Protocol):
    """The slots of a job, in seconds since the epoch. All workers find the same ones."""

    def next(self, after: float, /) -> float:
        """Return the first slot after this time."""


class Every:
    """Slots at the multiples of a time, so that reloads and other workers do not move them."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def next(self, after: float, /) -> float:
        slot = (math.floor(after / self._seconds) + 1) * self._seconds
        return slot if slot > after else slot + self._seconds


class At:
    """Slots at times of day.

    A time that occurs twice, because clocks are set back, is one slot: the first. A time that does not exist, because
    clocks are set forward, is the next minute that does.
    """

    def __init__(self, times: Sequence[DayTime], local: Local) -> None:
        self._times = times
        self._local = local

    def next(self, after: float, /) -> float:
        return min(slot for slot in self._slots(after) if slot > after)

    def _slots(self, near: float) -> Iterator[float]:
        """Yield the slots from the day before to that of the next week: a gap may move one beyond midnight."""
        today = self._local(near).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        for days in range(-1, 9):
            day = today + timedelta(days=days)
            for time in self._times:
                if time.weekday in {None, day.weekday()}:
                    yield self._moment(day.replace(hour=time.hour, minute=time.minute))

    def _moment(self, wall: datetime) -> float:
        """Return the first time at which clocks show this, or the next minute that they show."""
        for _ in range(_LONGEST_GAP):
            utc = (wall - datetime(1970, 1, 1)).total_seconds()  # noqa: DTZ001 the wall's time
            offsets = {self._offset(utc - 86_400), self._offset(utc + 86_400)}
            found = [utc - offset for offset in offsets if self._offset(utc - offset) == offset]
            if found:
                return min(found)
            wall += _MINUTE
        raise AssertionError(f"no clock shows {wall}")

    def _offset(self, seconds: float) -> float:
        offset = self._local(seconds).utcoffset()
        return 0.0 if offset is None else offset.total_seconds()
