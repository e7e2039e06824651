"""The errors of handlers in this process, which the heartbeats report to the arbiter: `[server] probation`."""

from collections.abc import Callable
from traceback import walk_tb
from types import FrameType
from typing import Final

from gproxy.http.errors import HTTPError
from gproxy.http.exchange import Exchange
from gproxy.http.request import Request
from gproxy.runtime.expired import Expired

#: The reasons of exchanges that have failed in a handler.
_FAILED: Final = frozenset({"handler_error", "handler_timeout"})
#: The longest text of an exception that is reported, in characters.
_LONGEST: Final = 150


class ProbationCounts:
    """The number of requests, of those that failed in handlers, and the last failure.

    `name` returns the name of the handler whose code a frame runs, or an empty text; `place` the line of user code that
    raised an exception, as ` (FILE:LINE)`.
    """

    def __init__(self, name: Callable[[FrameType], str], place: Callable[[BaseException], str]) -> None:
        self._name = name
        self._place = place
        self._requests = 0
        self._failures = 0
        self._last = ""

    def record(self, exchange: Exchange) -> None:
        """Count an exchange."""
        self._requests += 1
        if exchange.reason in _FAILED:
            self._failures += 1

    def note(self, error: BaseException, _: HTTPError, request: Request) -> None:
        """Note the exception of a handler or an app; its response stays as it is."""
        names = [name for frame, _ in walk_tb(error.__traceback__) if (name := self._name(frame))]
        route = request.route.name if request.route is not None else ""
        who = f"handler {names[-1]}" if names else f"route {route}" if route else "a handler"
        text = " ".join(str(error).split())[:_LONGEST]
        what = "did not finish in time" if isinstance(error, Expired) else f"{type(error).__name__}: {text}"
        self._last = f"{who}: {what}{self._place(error)}"

    def read(self) -> tuple[int, int, str]:
        """Return the number of requests, of failures, and the last failure, empty if none was noted."""
        return self._requests, self._failures, self._last
