"""Timeouts: limits of single waits on the way to a response's head, inside the request's one deadline.

They count the time in which a backend is what we wait for: like the deadline, they stand still while it is the client.
"""

import math
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.http.request import Deadline, Request
from gproxy.http.time_limit import TimeLimit
from gproxy.upstream.backend import Backend

T = TypeVar("T")


class AttemptLimits(NamedTuple):
    """In seconds; None for no limit."""

    #: From connecting to the response's head.
    attempt: float | None = None
    #: From a connection to the response's head.
    first_byte: float | None = None
    #: Between two signs of life. For the first byte of the response `first_byte` holds in its place, if it is set.
    read: float | None = None

    @classmethod
    def of(cls, settings: UpstreamSettings) -> "AttemptLimits":
        return cls(settings.per_try_timeout, settings.first_byte_timeout, settings.read_timeout)

    def around(self, attempt: Callable[[Request, Backend], T]) -> Callable[[Request, Backend], T]:
        """The attempt under these; itself if there are none."""
        return attempt if self == AttemptLimits() else LimitedAttempt(self, attempt)


class _Watch:
    """Moves the alarm of one attempt from one to the next."""

    def __init__(self, timeouts: AttemptLimits, deadline: Deadline) -> None:
        self._timeouts = timeouts
        self._deadline = deadline
        #: When each of them is over, on a clock that stands still when the deadline does.
        self._ends = {TimeLimit.ATTEMPT: self._in(timeouts.attempt)}

    def _in(self, seconds: float | None) -> float:
        return math.inf if seconds is None else self._deadline.clock() - self._deadline.paused + seconds

    def start(self) -> None:
        self._deadline.progress = self._on_progress
        self._set_alarm()

    def end(self) -> None:
        self._deadline.progress = None
        self._deadline.set(self._deadline.expires)

    def _on_progress(self, heard: bool) -> None:
        if TimeLimit.FIRST_BYTE not in self._ends:
            self._ends[TimeLimit.FIRST_BYTE] = self._in(self._timeouts.first_byte)
        if heard or self._timeouts.first_byte is None:
            self._ends[TimeLimit.READ] = self._in(self._timeouts.read)
        self._set_alarm()

    def _set_alarm(self) -> None:
        deadline = self._deadline
        what = min(self._ends, key=self._ends.__getitem__)
        expires = self._ends[what] + deadline.paused
        if expires < deadline.expires:
            deadline.set_for(expires, what)
        else:
            deadline.set(deadline.expires)


class LimitedAttempt(Generic[T]):
    """What is done with a backend, under timeouts; Expired is thrown into it."""

    def __init__(self, timeouts: AttemptLimits, attempt: Callable[[Request, Backend], T]) -> None:
        self._timeouts = timeouts
        self._attempt = attempt

    def __call__(self, request: Request, backend: Backend) -> T:
        watch = _Watch(self._timeouts, request.deadline)
        watch.start()
        try:
            return self._attempt(request, backend)
        finally:
            watch.end()
