"""One timer a connection, armed lazily.

A timer a request costs a start and a stop for something that almost never happens. Here a request only notes when
it expires; the timer, once it fires, looks at the note and sleeps on if that lies ahead. It is moved only when a
note lies before the moment it is armed for.
"""

import math
from time import monotonic
from typing import Final

import gevent
from greenlet import getcurrent

#: A loop's clock may lag behind ours by less than this, in seconds.
_SLACK: Final = 0.001


class Expired(gevent.Timeout):  # type: ignore[misc]
    """Time is up; `what` says which time: "idle", "head", "body", "write", "deadline", "first_byte", "read".

    A gevent.Timeout, and so no Exception: a handler's `except Exception` does not swallow it.
    """

    def __init__(self, what: str) -> None:
        super().__init__(None)
        self.what = what

    def __str__(self) -> str:
        return f"{self.what} timeout"


class Alarm:
    """Throws Expired into its greenlet, which must be waiting by then, as everything that blocks here does."""

    __slots__ = ("_armed", "_timer", "expires", "greenlet", "what")

    def __init__(self) -> None:
        self.greenlet = getcurrent()
        self._armed = math.inf
        self._timer = gevent.get_hub().loop.timer(0.0)
        #: On the monotonic clock; infinite: never.
        self.expires = math.inf
        self.what = ""

    def set(self, expires: float, what: str) -> None:
        """Expire then, and no more when it was set to before."""
        self.expires = expires
        self.what = what
        if expires < self._armed:
            self._arm(expires)

    def clear(self) -> None:
        """Do not expire at all."""
        self.expires = math.inf

    def close(self) -> None:
        self._timer.stop()
        self._timer.close()

    def _arm(self, expires: float) -> None:
        self._armed = expires
        self._timer.close()
        self._timer = gevent.get_hub().loop.timer(max(expires - monotonic(), 0.0))
        self._timer.start(self._fire, update=True)

    def _fire(self) -> None:
        self._armed = math.inf
        if self.expires == math.inf:
            return
        if self.expires - monotonic() > _SLACK:
            self._arm(self.expires)
            return
        self.expires = math.inf
        self.greenlet.throw(Expired(self.what))
