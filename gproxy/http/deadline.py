"""The deadline of an exchange: to which limit, and to which moment, the alarm of its connection is set.

At any moment the alarm of a client's connection is set to one limit. During an exchange these are:

| what the gateway waits for | the alarm expires | limit |
|---|---|---|
| the response's head | `timeout` after the request's head, or after the last piece of an upload taken | DEADLINE |
| the same, in an attempt | at the nearest of the attempt's own limits, if earlier | ATTEMPT, FIRST_BYTE, READ |
| a piece of a backend's body | `read_timeout` after the wait began | READ |
| a piece of a handler's own body | `timeout` after the wait began | DEADLINE |
| a piece of an event stream, or of any body with `stream = yes` | `tunnel_timeout` after the wait began | TUNNEL |
| a handler with `time_limit`, before and after `next` | when its own time is over, if earlier | HANDLER |
| bytes of a tunnel, either way | `tunnel_timeout` after the last ones | TUNNEL |
| each of these | `total_timeout` after the request's head, if earlier | TOTAL |
| a piece of the client's upload | `body_timeout` after the wait began | BODY |
| a client that does not read | `write_timeout` after it last took something | WRITE |
| each of these two | when the client has moved fewer bytes than `min_rate` asks for, if earlier | RATE |

A wait for the client moves the ends of all the other limits by its duration, except in a tunnel. The end of an identity
(`end_streams`) is moved by nothing, so it has an alarm of its own: see `on_endless`.
"""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, Protocol

from gproxy.http.time_limit import ExchangeLimits, TimeLimit

#: Seconds for which a client may keep the gateway waiting in each direction before `min_rate` counts.
GRACE: Final = 5.0
#: PERF: a global, where a class attribute would be a look-up.
_DEADLINE: Final = TimeLimit.DEADLINE


class Timer(Protocol):
    """A timer that raises in the greenlet of the request when it expires."""

    def set(self, expires: float, limit: TimeLimit) -> None: ...
    def close(self) -> None: ...
    def twin(self) -> "Timer":
        """Return another timer, for the greenlet that calls; it must be closed."""

    def bound(self, seconds: float) -> AbstractContextManager[object]:
        """Return a block that ends silently after so many seconds."""


class Deadline:
    """The moment at which the response's head is due, on the monotonic clock; `remaining()` is for handlers.

    Once a body follows the head, each of its pieces has a limit of its own, and only `total_timeout` bounds the whole.
    All of this is paused while the gateway waits for the client; `body_timeout` and `write_timeout` limit that wait.
    """

    __slots__ = (
        "_ends", "_limit", "_limits", "_own", "_own_ends", "_piece", "_seconds", "_timer", "_total", "_wait", "clock",
        "expires", "is_paced", "on_endless", "on_slow_reader", "paused", "progress", "read_patience",
        "upload_patience",
    )  # fmt: skip

    def __init__(self, timer: Timer | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        #: When the head is due; after the head the end of the whole exchange, usually infinite.
        self.expires = math.inf
        #: Total seconds of all pauses so far.
        self.paused = 0.0
        #: Called when a backend accepts bytes (False) or sends bytes (True) before its response head is complete; for
        #: limits of single waits. None without such limits.
        self.progress: Callable[[bool], None] | None = None
        #: True if `min_rate` bounds the client: not in an event stream, and not with `stream = yes`.
        self.is_paced = True
        #: For how many seconds the client may yet keep the gateway waiting: for its upload, and when it reads.
        self.upload_patience = self.read_patience = GRACE
        #: Called once when the client keeps the gateway waiting with a response; None if nothing depends on it.
        self.on_slow_reader: Callable[[], None] | None = None
        #: Called once the response is known to be endless: a tunnel, an event stream, or any body with `stream = yes`.
        self.on_endless: Callable[[], None] | None = None
        self.clock = clock
        self._timer = timer
        self._limits: ExchangeLimits | None = None
        self._limit = self._total = _DEADLINE
        #: The time until the head in seconds, for `renew`; infinite after the head.
        self._seconds = math.inf
        #: The end of the whole exchange.
        self._ends = math.inf
        #: The limit of the handler that runs, and when its own time is over; infinite: it has no limit.
        self._own = _DEADLINE
        self._own_ends = math.inf
        #: The limit of the present wait for a backend's piece, and of each wait for a handler's piece.
        self._wait: TimeLimit | None = None
        self._piece: TimeLimit | None = None

    def begin(self, limits: ExchangeLimits) -> None:
        """Begin the time until the response's head."""
        self._limits = limits
        self.is_paced = limits.is_paced
        self._limit = head = limits.head
        self._seconds = head.seconds
        total = limits.total
        self._ends = math.inf
        if total is not None:
            self._total = total
            self._ends = self.clock() + total.seconds
        self._restart()

    def begin_body(self, *, is_event_stream: bool) -> None:
        """End the time until the head: each further piece has its own. A tunnel counts as an event stream."""
        self._seconds = math.inf
        self.expires = self._ends
        limits = self._limits
        if limits is not None:
            self._piece = limits.event_stream if is_event_stream else limits.piece
            self.is_paced = limits.is_paced and not is_event_stream
        if self.on_endless is not None and (is_event_stream or not self.is_paced):
            self.on_endless()
        self.resume()

    def renew(self) -> None:
        """Start the time anew: a backend has taken a piece of the upload."""
        self._restart()
        if self.progress is not None:
            self.progress(False)

    def _restart(self) -> None:
        if self._seconds != math.inf:
            expires = self.clock() + self._seconds
            self.expires = min(expires, self._ends)
        self._arm()

    def wait(self, limit: TimeLimit) -> None:
        """Begin a wait under this limit; `resume` ends it."""
        self._wait = limit
        self._arm()

    def resume(self) -> None:
        """End a wait: the time of the handlers begins anew."""
        self._wait = self._piece
        self._arm()

    def pause(self, seconds: float) -> None:
        """Move all ends by the seconds for which the gateway has waited for the client."""
        self.paused += seconds
        self.expires += seconds
        self._ends += seconds
        self._own_ends += seconds

    def hold(self, seconds: float) -> None:
        """Move all ends by the seconds for which a debugger has stopped the request; no client was waited for."""
        self.pause(seconds)
        self.paused -= seconds

    def end(self) -> None:
        """Set the timer no more: its greenlet serves others now. A greenlet that a handler has left may go on."""
        self._timer = None

    def begin_own(self, limit: TimeLimit, seconds: float) -> None:
        """Begin the own time of a handler: it has so many seconds. No other handler's may be under way."""
        self._own, self._own_ends = limit, self.clock() + seconds
        self._arm()

    def end_own(self) -> float:
        """End the own time of the handler, be it for a while, and return the seconds that are left."""
        left = self._own_ends - self.clock()
        self._own_ends = math.inf
        self._arm()
        return left

    def _arm(self) -> None:
        timer = self._timer
        if timer is None:
            return
        wait = self._wait
        if wait is not None:
            expires = self.clock() + wait.seconds
            if expires < self.expires:
                if self._own_ends < expires:
                    timer.set(self._own_ends, self._own)
                else:  # PERF: no call of set_for, for each piece of a body
                    timer.set(expires, wait)
                return
        if self._own_ends < self.expires:
            timer.set(self._own_ends, self._own)
            return
        timer.set(self.expires, self._limit if self.expires < self._ends else self._total)

    def remaining(self) -> float:
        """Return the remaining seconds; infinite without a limit, never below 0."""
        return max(0.0, self.expires - self.clock())

    def set(self, expires: float) -> None:
        """Move the deadline; infinity removes it."""
        self.expires = expires
        self._arm()

    @property
    def timer(self) -> Timer | None:
        """The timer that raises at the end of the deadline; None without one."""
        return self._timer

    def set_for(self, expires: float, limit: TimeLimit) -> None:
        """Expire earlier during one wait, with another name; `set` ends it."""
        if self._timer is None:
            return
        if self._own_ends < expires:
            self._timer.set(self._own_ends, self._own)
        else:
            self._timer.set(expires, limit)

    def within(self, timer: Timer, limit: TimeLimit) -> "Deadline":
        """Return the deadline of a call under this limit from now on, inside this deadline, and set its timer.

        No progress of the call moves it.
        """
        inner = Deadline(timer, self.clock)
        expires = self.clock() + limit.seconds
        inner.expires, inner._limit = min(expires, self.expires), limit if expires < self.expires else self._limit
        inner._ends, inner._total = self._ends, self._total
        inner.resume()
        return inner

    def detached(self, timer: Timer) -> "Deadline":
        """Return the same deadline for another greenlet, whose timer this is; it is not set yet."""
        twin = Deadline(timer, self.clock)
        twin.expires, twin._seconds, twin._ends = self.expires, self._seconds, self._ends
        twin._limits, twin._limit, twin._total = self._limits, self._limit, self._total
        twin._piece, twin.is_paced = self._piece, self.is_paced
        return twin
