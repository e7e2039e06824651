"""Waits that end when the client leaves, and copies of requests for other greenlets than the connection's."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from time import monotonic
from typing import Any, Final

import gevent
from gevent.event import Event

from gproxy.http.client_stream import ClientStream
from gproxy.http.deadline import Deadline, Timer
from gproxy.http.errors import ClientGone
from gproxy.http.request import Request
from gproxy.runtime.alarm import Alarm, TimerWheel
from gproxy.runtime.served import served_request

#: The timers of detached requests.
_wheel: Final = TimerWheel()


def bounded(timer: Timer | None, seconds: float) -> Any:  # noqa: ANN401 gevent has no types
    """Return a block that ends silently after so many seconds, by the timer of a request's deadline if it has one."""
    return gevent.Timeout(seconds, False) if timer is None else timer.bound(seconds)


class ClientWatch:
    """A wait until `wake` is called or a time has passed, in which the client is observed."""

    def __init__(self, client: ClientStream | None, deadline: Deadline | None = None) -> None:
        self._client = client
        self._timer = deadline.timer if deadline is not None else None
        self._clock = deadline.clock if deadline is not None and self._timer is not None else monotonic
        self._event = Event()
        self._woken = self._client_has_event = False

    @classmethod
    def of(cls, request: Request) -> "ClientWatch":
        """Return the watch of a request's client; only the connection's own greenlet can observe the client."""
        client = request.client_stream
        return cls(client if client is not None and client.in_own_greenlet() else None, request.deadline)

    def wake(self) -> None:
        """End the present wait, or the next one at once."""
        self._woken = True
        self._event.set()

    def switch(self, _: object) -> None:
        """Note that the client's channel has bytes, or its end; the event loop calls this."""
        self._client_has_event = True
        self._event.set()

    def wait(self, seconds: float = math.inf) -> None:
        """Wait until `wake`, or so many seconds. Raise ClientGone if the client leaves; an alarm may throw Expired."""
        ends = self._clock() + seconds
        while not self._woken and (left := ends - self._clock()) > 0:  # the loop may be late, and its timers early
            if left == math.inf:
                self._wait_once()
            else:
                with bounded(self._timer, left):
                    self._wait_once()
        self._woken = False

    def _wait_once(self) -> None:
        client = self._client
        if client is None or not client.can_detect_close():  # unread bytes of a pipelined request hide the end
            self._event.wait()
        else:
            before = client.watch(self)
            try:
                self._event.wait()
            finally:
                client.watch(before)
        self._event.clear()
        has_event, self._client_has_event = self._client_has_event, False
        if has_event and client is not None and client.is_gone():
            raise ClientGone


def served_watch() -> ClientWatch:
    """Return the watch of the request that the greenlet serves; without one, a wait that only `wake` ends."""
    request = served_request()
    return ClientWatch(None) if request is None else ClientWatch.of(request)


def alarm_like(deadline: Deadline, wheel: TimerWheel) -> Timer:
    """Return an alarm for the greenlet that calls, of the kind that the deadline has; without one, of the wheel."""
    timer = deadline.timer
    return Alarm(wheel) if timer is None else timer.twin()


@contextmanager
def detached(request: Request) -> Iterator[Request]:
    """Yield a copy of the request, without the client and its alarm, for another greenlet than the connection's.

    The copy has the request's deadline and an alarm of its own. That alarm is not set: the greenlet that waits for this
    one usually has the deadline's.
    """
    alarm = alarm_like(request.deadline, _wheel)
    detached_request = copy(request)
    detached_request.leave_client()
    detached_request.deadline = request.deadline.detached(alarm)
    try:
        yield detached_request
    finally:
        alarm.close()
        detached_request.end()
