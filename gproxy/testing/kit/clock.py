"""Virtual time: sleeps, time limits and slow backends move the clock, and nothing waits.

The clock moves in two ways. A test advances it. Or a greenlet waits for a moment of the clock while nothing else can
run: then the clock jumps to the nearest moment for which anything waits. So a request to a slow backend takes no time,
and its deadline ends it first if it is nearer.

Background tasks, which were spawned while the gateway opened, run when their moments come. But none of them moves the
clock: it would never stop.
"""

import heapq
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import gevent
from greenlet import getcurrent, greenlet

from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.testing import Clock

#: The error of a request that nothing can end.
STUCK: Final = "the request waits for something that never happens, and no time limit ends it"


class Moment:
    """A moment at which a callback runs, in the loop; `is_awaited` if the clock may jump to it."""

    __slots__ = ("callback", "is_awaited", "when")

    def __init__(self, when: float, callback: Callable[[], object] | None, *, is_awaited: bool) -> None:
        self.when = when
        #: None once it has run or was cancelled.
        self.callback = callback
        self.is_awaited = is_awaited


class VirtualClock(Clock):
    """The clock of a test: the monotonic one, and `wall`, seconds since the epoch; it begins at the real time."""

    def __init__(self, now: float = 1_000_000.0, wall: float | None = None) -> None:
        super().__init__(now)
        self._epoch = (time.time() if wall is None else wall) - now
        self._moments: list[tuple[float, int, Moment]] = []
        self._count = 0
        self._awaited = 0
        #: Limits that throw into their greenlets.
        self._alarms: set[VirtualAlarm] = set()
        self._background: set[greenlet] = set()
        self._driver: Any = None
        self._is_advancing = False

    def wall(self) -> float:
        """Return the time of day, in seconds since the epoch."""
        return self._epoch + self.now

    def advance(self, seconds: float) -> None:
        """Advance the clock, and run everything whose moment comes until then. Raises ValueError for a step back."""
        super().advance(min(seconds, 0.0))
        end = self.now + seconds
        before, self._is_advancing = self._is_advancing, True
        try:
            gevent.idle()
            while (due := self._take(end)) is not None:
                gevent.get_hub().loop.run_callback(due)
                gevent.idle()
        finally:
            self._is_advancing = before
        self.now = max(self.now, end)

    def sleep(self, seconds: float) -> None:
        """Wait in virtual time; the clock jumps if nothing else can run."""
        moment = self.at(self.now + max(seconds, 0.0), getcurrent().switch)
        try:
            gevent.get_hub().switch()
        finally:
            self.cancel(moment)

    @contextmanager
    def bounded(self, seconds: float) -> Iterator[None]:
        """Run a block that ends silently after so many seconds of virtual time."""
        waiting, ended = getcurrent(), gevent.Timeout()
        moment = self.at(self.now + seconds, lambda: waiting.throw(ended))
        try:
            yield
        except gevent.Timeout as error:
            if error is not ended:
                raise
        finally:
            self.cancel(moment)

    def at(self, when: float, callback: Callable[[], object]) -> Moment:
        """Run the callback in the loop at that moment; a greenlet of a test or of a request waits for it."""
        moment = Moment(when, callback, is_awaited=self._is_awaited())
        self._count += 1
        heapq.heappush(self._moments, (when, self._count, moment))
        if moment.is_awaited:
            self._awaited += 1
            self._drive()
        return moment

    def cancel(self, moment: Moment) -> None:
        """Forget a moment that has not come; else do nothing."""
        if moment.callback is not None:
            self._forget(moment)

    def _forget(self, moment: Moment) -> None:
        moment.callback = None
        if moment.is_awaited:
            self._awaited -= 1
            self._drive()

    @contextmanager
    def background(self) -> Iterator[None]:
        """Mark the greenlets that this one spawns in the block as background tasks: the clock waits for none of them.

        The greenlet that runs the block must not do anything else.
        """
        self._background.add(getcurrent())
        yield

    def _is_awaited(self) -> bool:
        """Return whether the current greenlet was spawned by the test or by a request."""
        one: Any = getcurrent()
        while one is not None:
            if one in self._background:
                return False
            spawner = getattr(one, "spawning_greenlet", None)
            if spawner is None:
                return one is not gevent.get_hub()
            one = spawner()
        return False

    def add(self, alarm: "VirtualAlarm") -> None:
        """Let the alarm throw when its moment comes."""
        self._alarms.add(alarm)

    def discard(self, alarm: "VirtualAlarm") -> None:
        """Forget an alarm."""
        self._alarms.discard(alarm)

    def _drive(self) -> None:
        """Let the loop move the clock while it has nothing else to do, as long as anything is awaited."""
        if self._awaited and self._driver is None:
            self._driver = gevent.get_hub().loop.idle()
            self._driver.start(self._jump)
        elif not self._awaited and self._driver is not None:
            self._driver.stop()
            self._driver.close()
            self._driver = None

    def _jump(self) -> None:
        """Move the clock to the nearest moment, and do what it is for."""
        if self._is_advancing:
            return
        due = self._take(math.inf)
        if due is not None:
            due()
            return
        for _, _, moment in self._moments:  # all of them are infinitely far
            if moment.is_awaited and moment.callback is not None:
                self._forget(moment)
        gevent.get_hub().parent.throw(AssertionError(STUCK))

    def _take(self, end: float) -> Callable[[], object] | None:
        """Move the clock to the nearest moment until `end`, and return what to do; None if there is none."""
        moments = self._moments
        while moments and moments[0][2].callback is None:
            heapq.heappop(moments)
        alarm = min(self._alarms, key=lambda one: one.expires, default=None)
        first = moments[0][0] if moments else math.inf
        if alarm is not None and alarm.expires <= min(first, end) and alarm.expires != math.inf:
            self.now = max(self.now, alarm.expires)
            return alarm.fire
        if first > end or first == math.inf:
            return None
        moment = heapq.heappop(moments)[2]
        callback = moment.callback
        self._forget(moment)
        self.now = max(self.now, moment.when)
        return callback

    def close(self) -> None:
        """Forget everything that waits."""
        self._moments.clear()
        self._alarms.clear()
        self._awaited = 0
        self._drive()


class VirtualAlarm:
    """A time limit of a greenlet on the virtual clock, as `runtime.alarm.Alarm` is one in real time."""

    __slots__ = ("_clock", "_greenlet", "_limit", "expires")

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._greenlet = getcurrent()
        self._limit = TimeLimit.IDLE
        self.expires = math.inf
        clock.add(self)

    def set(self, expires: float, limit: TimeLimit) -> None:
        """Set the limit to that time and name, in place of the previous one."""
        self.expires = expires
        self._limit = limit

    def twin(self) -> "VirtualAlarm":
        """Return an alarm for the greenlet that calls; it must be closed."""
        return VirtualAlarm(self._clock)

    def bound(self, seconds: float) -> Any:  # noqa: ANN401 as Alarm has it
        """Return a block that ends silently after so many seconds."""
        return self._clock.bounded(seconds)

    def close(self) -> None:
        """Remove the limit."""
        self.expires = math.inf
        self._clock.discard(self)

    def fire(self) -> None:
        """Throw Expired into the greenlet, from the loop."""
        self.expires = math.inf
        if not self._greenlet.dead:
            self._greenlet.throw(Expired(self._limit))
