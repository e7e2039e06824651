"""The time account of a watched request: exclusive times that add up to its duration.

| part | time in which |
|---|---|
| `upload` | the client sends the body |
| `handler.NAME` | the handler itself runs, before and after `next` |
| `queue` | the request waits for a place at the upstream |
| `connect` | the gateway connects |
| `backend` | from sent until the response's head, of all attempts |
| `pause` | the gateway pauses before retries |
| `body` | the gateway waits for the backend's body, or a handler makes one |
| `write` | the client takes the response |
| `other` | all the rest |
"""

from collections.abc import Callable
from typing import Final

from gproxy.gateway.watch.capture import Capture, LentCapture
from gproxy.http.deadline import Deadline
from gproxy.http.request import Request
from gproxy.runtime.live_rules import StepRunner

OTHER: Final = "other"
QUEUE: Final = "queue"
CONNECT: Final = "connect"
BACKEND: Final = "backend"
PAUSE: Final = "pause"
BODY: Final = "body"
_UPLOAD: Final = "upload"
_WRITE: Final = "write"
_HANDLER: Final = "handler."


class Attempt:
    """An attempt at a backend: what came of it, and its seconds until the response's head or the failure."""

    __slots__ = ("backend", "outcome", "seconds")

    def __init__(self, backend: str, outcome: str, seconds: float) -> None:
        self.backend = backend
        self.outcome = outcome
        self.seconds = seconds


class TimeAccount:
    """The account of one request: `switch` says which part the time from now on belongs to.

    A wait for the client belongs to `upload` or, once the head is due, to `write`, whatever part it interrupts.
    """

    __slots__ = (
        "_deadline", "_part", "_paused", "_since", "_waiting", "attempts", "capture", "parts", "runners", "started",
        "wants_timing",
    )  # fmt: skip

    def __init__(self, deadline: Deadline, capture: Capture | None = None) -> None:
        self._deadline = deadline
        #: On the monotonic clock.
        self.started = self._since = deadline.clock()
        self._paused = deadline.paused
        self._part = OTHER
        self._waiting = _UPLOAD
        #: Seconds by part, in the order in which the parts began; handlers are called `handler.NAME`.
        self.parts: dict[str, float] = {}
        self.attempts: list[Attempt] = []
        #: True if the client may see the account in Server-Timing.
        self.wants_timing = False
        #: What runs the steps of the chain, by the rules of operators; usually nothing.
        self.runners: list[StepRunner] = []
        #: The capture of the exchange; None without one.
        self.capture = capture

    def switch(self, part: str) -> str:
        """Begin this part, and return the part before it."""
        self._settle()
        before, self._part = self._part, part
        self.parts.setdefault(part, 0.0)
        return before

    def begin_body(self) -> None:
        """Begin the part behind the response's head: from here on a wait for the client is one for its reading."""
        self.switch(BODY)
        self._waiting = _WRITE

    def close(self, duration: float) -> None:
        """End the account of a request that took so many seconds, those before its route was known included."""
        self._settle()
        rest = duration - sum(self.parts.values())
        self.parts[OTHER] = self.parts.get(OTHER, 0.0) + max(rest, 0.0)

    def detached(self) -> "TimeAccount":
        """Return an account that is thrown away, for a copy of the request in another greenlet, with its capture."""
        return TimeAccount(self._deadline, self.capture)

    def lent(self, at_end: Callable[[Callable[[], None]], None]) -> "TimeAccount | None":
        """Return an account that is thrown away, for a look-up in another greenlet; None without a capture.

        It has the capture until the end of the request, of which `at_end` tells.
        """
        if self.capture is None:
            return None
        capture = LentCapture(self.capture)
        at_end(capture.end)
        return TimeAccount(Deadline(), capture)

    def until_now(self) -> dict[str, float]:
        """Return the seconds by part until now."""
        self._settle()
        return dict(self.parts)

    def handlers(self) -> dict[str, float]:
        """Return the seconds of each handler, by its name, outermost first."""
        return {name.removeprefix(_HANDLER): took for name, took in self.parts.items() if name.startswith(_HANDLER)}

    @property
    def handler_times(self) -> str:
        """The handlers with the time that each took itself, for the access log: `jwt=0.1ms,limit=0.0ms`."""
        return ",".join(f"{name}={seconds * 1000:.1f}ms" for name, seconds in self.handlers().items())

    def _settle(self) -> None:
        """Add the time since the last change to the present part, and that of waits for the client to theirs."""
        parts = self.parts
        now, paused = self._deadline.clock(), self._deadline.paused
        waited = paused - self._paused
        parts[self._part] = parts.get(self._part, 0.0) + now - self._since - waited
        if waited:
            parts[self._waiting] = parts.get(self._waiting, 0.0) + waited
        self._since, self._paused = now, paused


def part_of(handler: str) -> str:
    """Return the part of the handler of this name."""
    return f"{_HANDLER}{handler}"


def account_of(request: Request) -> TimeAccount:
    """Return the account of a watched request; one that is thrown away for a copy in another greenlet."""
    account = request.exchange.account
    return account if isinstance(account, TimeAccount) else TimeAccount(request.deadline)


def capture_of(request: Request) -> Capture | None:
    """Return the capture of the request, or of the request that it is a copy or a part of; None without one."""
    account = request.exchange.account
    return account.capture if isinstance(account, TimeAccount) else None
