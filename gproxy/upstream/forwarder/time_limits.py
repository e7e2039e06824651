"""Timeouts of one attempt, from connecting to the response head, inside the request's deadline; and its duration.

They measure waits for the backend. Like the deadline, they are paused while the gateway waits for the client.
"""

import math
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.http.deadline import Deadline
from gproxy.http.request import Request
from gproxy.http.time_limit import TimeLimit
from gproxy.upstream.backend import Backend
from gproxy.upstream.retry import FailedAttempt

T = TypeVar("T")


class AttemptLimits(NamedTuple):
    """The limits of one attempt; infinite ones are none."""

    #: From connecting to the response head.
    attempt: TimeLimit = TimeLimit.ATTEMPT
    #: From an open connection to the response head.
    first_byte: TimeLimit = TimeLimit.FIRST_BYTE
    #: Between two events of progress. If `first_byte` is set, it applies to the first byte of the response instead.
    read: TimeLimit = TimeLimit.READ

    @classmethod
    def of(cls, settings: UpstreamSettings) -> "AttemptLimits":
        """Return the limits of an upstream's settings."""
        return cls(
            *(
                limit if seconds is None else limit.of(seconds, f"{option} of [upstream:{settings.name}]")
                for limit, seconds, option in (
                    (TimeLimit.ATTEMPT, settings.per_try_timeout, "per_try_timeout"),
                    (TimeLimit.FIRST_BYTE, settings.first_byte_timeout, "first_byte_timeout"),
                    (TimeLimit.READ, settings.read_timeout, "read_timeout"),
                )
            )
        )

    def around(self, attempt: Callable[[Request, Backend], T]) -> Callable[[Request, Backend], T]:
        """Return the attempt under these limits; the attempt itself if there are none."""
        return attempt if all(limit.seconds == math.inf for limit in self) else LimitedAttempt(self, attempt)


class _Watch:
    """The alarm of one attempt, always set for the limit that ends first."""

    def __init__(self, limits: AttemptLimits, deadline: Deadline) -> None:
        self._limits = limits
        self._deadline = deadline
        #: The end of each limit, on a clock that is paused with the deadline.
        self._ends = {limits.attempt: self._end_of(limits.attempt)}

    def _end_of(self, limit: TimeLimit) -> float:
        """Return the end of a limit that begins now; the seconds in `paused` do not count."""
        return self._deadline.clock() - self._deadline.paused + limit.seconds

    def start(self) -> None:
        self._deadline.progress = self._on_progress
        self._set_alarm()

    def end(self) -> None:
        self._deadline.progress = None
        self._deadline.set(self._deadline.expires)

    def _on_progress(self, received: bool) -> None:
        limits = self._limits
        if limits.first_byte not in self._ends:
            self._ends[limits.first_byte] = self._end_of(limits.first_byte)
        if received or limits.first_byte.seconds == math.inf:
            self._ends[limits.read] = self._end_of(limits.read)
        self._set_alarm()

    def _set_alarm(self) -> None:
        deadline = self._deadline
        nearest = min(self._ends, key=self._ends.__getitem__)
        expires = self._ends[nearest] + deadline.paused
        if expires < deadline.expires:
            deadline.set_for(expires, nearest)
        else:
            deadline.set(deadline.expires)


class LimitedAttempt(Generic[T]):
    """An attempt under limits: an alarm throws Expired into it."""

    def __init__(self, limits: AttemptLimits, attempt: Callable[[Request, Backend], T]) -> None:
        self._limits = limits
        self._attempt = attempt

    def __call__(self, request: Request, backend: Backend) -> T:
        """Make the attempt, and return its result."""
        watch = _Watch(self._limits, request.deadline)
        watch.start()
        try:
            return self._attempt(request, backend)
        finally:
            watch.end()


class TimedAttempt(Generic[T]):
    """An attempt that leaves the seconds from its start to its response head in the exchange, for the access line.

    The seconds in which the gateway waited for the client do not count.
    """

    def __init__(self, attempt: Callable[[Request, Backend], T]) -> None:
        self._attempt = attempt

    def __call__(self, request: Request, backend: Backend) -> T:
        """Make the attempt, and return its result."""
        exchange, deadline = request.exchange, request.deadline
        exchange.apptime = -1.0
        began = deadline.clock() - deadline.paused
        result = self._attempt(request, backend)
        if not (isinstance(result, tuple) and isinstance(result[0], FailedAttempt)):
            exchange.apptime = deadline.clock() - deadline.paused - began
        return result
