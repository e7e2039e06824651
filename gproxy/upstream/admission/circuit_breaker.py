"""A circuit breaker: while an upstream fails too often, or is too slow, the gateway rejects its requests with 503.

closed: requests pass, and are counted over a sliding window. open: no request passes for `breaker_open`. trial: one
request at a time passes, until one succeeds. recovering: a share passes that grows from zero to all requests within
`breaker_open`. Failures in the last two states open the breaker again. The breaker counts what clients get, after all
retries; attempts that a retry replaces concern passive health only.
"""

import math
from typing import Any, Final, Literal

from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types.matchers import as_set
from gproxy.config.types.units import plural
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.runtime import Runtime
from gproxy.upstream.failure import UNFINISHED, is_caused_by_client

State = Literal["closed", "open", "trial", "recovering"]

#: The number of steps in which the window moves.
_STEPS: Final = 10
#: The number of requests that can open a recovering breaker.
_FEW: Final = 3
#: The statuses of errors that the upstream has caused; the client or the gateway has caused all others.
_FAULTS: Final = frozenset({502, 504})
#: The largest body that is collected before its request becomes the trial, in bytes.
_COLLECTED: Final = 64 * 1024


class Window:
    """A sliding window of so many seconds: the number of requests, of failed and of slow ones."""

    __slots__ = ("_bucket", "_buckets", "_step", "_width", "failed", "slow", "total")

    def __init__(self, seconds: float) -> None:
        self._width = seconds / _STEPS
        self.clear()

    def clear(self) -> None:
        self.total = self.failed = self.slow = 0
        self._buckets = [[0, 0, 0] for _ in range(_STEPS)]
        self._bucket = self._buckets[0]
        self._step = 0

    def add(self, now: float, failed: bool, slow: bool) -> None:
        step = int(now / self._width)
        if step != self._step:
            self._move(step)
        bucket = self._bucket
        bucket[0] += 1
        self.total += 1
        if failed:
            bucket[1] += 1
            self.failed += 1
        if slow:
            bucket[2] += 1
            self.slow += 1

    def _move(self, step: int) -> None:
        """Move the window to that step, and subtract the steps that leave it."""
        for passed in range(max(self._step + 1, step - _STEPS + 1), step + 1):
            bucket = self._buckets[passed % _STEPS]
            self.total -= bucket[0]
            self.failed -= bucket[1]
            self.slow -= bucket[2]
            bucket[:] = 0, 0, 0
        self._step = step
        self._bucket = self._buckets[step % _STEPS]


class CircuitBreaker:
    """The circuit breaker of one upstream.

    `before` wraps the concurrency limit, `judging` the forward action: a request may wait in a queue between the two.
    """

    def __init__(self, settings: UpstreamSettings, runtime: Runtime) -> None:
        self._runtime = runtime
        self.state: State = "closed"
        self._name = settings.name
        self._failing = as_set(settings.ejection.fail_statuses)
        options = settings.breaker
        self._errors = options.errors
        # The 0.95 quantile is above the limit if more than 5 % of the requests are: a count replaces the latencies.
        self._latency = options.latency or math.inf
        self._slow = 1 - options.quantile
        self._least = options.requests
        self._pause = options.open
        self._window = Window(options.window)
        #: The start of the open or recovering state.
        self._since = 0.0
        #: How often the breaker has opened; a request from before the last time is not counted.
        self._era = 0
        self._is_trying = False
        #: The next time at which a larger, incomplete body may be tried.
        self._next_upload = 0.0
        self._offered = self._admitted = 0

    def before(self, following: Next) -> Next:
        """Return a step that passes requests on to `following`, or raises HTTPError 503."""

        def admit(request: Request) -> Response:
            return following(request) if self.state == "closed" else self._admit(request, following)

        return admit

    def judging(self, following: Next) -> Next:
        """Return a step that counts the results of `following`.

        It also rejects requests that were in the queue when the breaker opened.
        """

        def judge(request: Request) -> Response:
            if self.state == "open":
                raise self._rejection()
            now, era, deadline = self._runtime.monotonic, self._era, request.deadline
            started, paused, tries = now(), deadline.paused, request.tries
            try:
                response = following(request)
            except HTTPError as error:
                if error.status in _FAULTS and error.reason != UNFINISHED.reason and era == self._era:
                    self.note(now(), 0.0, failed=True)
                raise
            if era == self._era and request.tries > tries:  # else the gateway answered without an attempt
                ended = now()
                seconds = ended - started - (deadline.paused - paused)  # without the waits for the client
                failed = response.status in self._failing and not is_caused_by_client(request, response.status)
                self.note(ended, seconds, failed=failed)
            return response

        return judge

    def _admit(self, request: Request, following: Next) -> Response:
        now = self._runtime.monotonic()
        if self.state == "open" and now >= self._since + self._pause:
            self.state = "trial"
        if self.state == "trial":
            return self._try(request, following)
        if self.state == "recovering" and self._has_share(now):
            return following(request)
        raise self._rejection()

    def _try(self, request: Request, following: Next) -> Response:
        """Try one complete request at a time, so that a slow upload does not keep the others out.

        A body too large to collect is tried beside it, one in each period of `breaker_open`.
        """
        body = request.body
        if not body.done:
            is_complete = (body.length or 0) <= _COLLECTED and body.collect(_COLLECTED)
            if is_complete or self.state != "trial":  # the state may have changed meanwhile
                return self.before(following)(request)
            now = self._runtime.monotonic()
            if now < self._next_upload:
                raise self._rejection()
            self._next_upload = now + self._pause
            return following(request)
        if self._is_trying:
            raise self._rejection()
        self._is_trying = True
        try:
            return following(request)
        finally:
            self._is_trying = False

    def _has_share(self, now: float) -> bool:
        """Return whether the growing share includes this request; close the breaker once it is all requests."""
        share = (now - self._since) / self._pause
        if share >= 1:
            self._close()
            return True
        self._offered += 1
        if self._admitted > share * self._offered:
            return False
        self._admitted += 1
        return True

    def _close(self) -> None:
        self.state = "closed"
        self._runtime.log.warning("upstream %s: circuit breaker closed", self._name)

    def note(self, now: float, seconds: float, *, failed: bool) -> None:
        """Count a request that has passed the breaker, ended at `now` and took so many seconds."""
        slow = seconds > self._latency
        self._window.add(now, failed, slow)
        if failed or slow:
            if self._is_too_bad():
                self._open(now)
        elif self.state == "trial":
            self.state, self._since = "recovering", now
            self._offered = self._admitted = 0
            self._window.clear()
            self._runtime.log.warning("upstream %s: circuit breaker recovering: a growing share passes", self._name)

    def _is_too_bad(self) -> bool:
        window = self._window
        if self.state == "trial":
            return True
        least, slow_part = (self._least, self._slow) if self.state == "closed" else (_FEW, 0.5)
        if window.total < least:
            return False
        return window.failed >= self._errors * window.total or window.slow > slow_part * window.total

    def _open(self, now: float) -> None:
        window = self._window
        self._runtime.log.warning(
            "upstream %s: circuit breaker open for %g s: %d of %s failed, %d slow",
            self._name,
            self._pause,
            window.failed,
            plural(window.total, "request"),
            window.slow,
        )
        self.state, self._since = "open", now
        self._era += 1
        window.clear()

    def _rejection(self) -> HTTPError:
        left = self._since + self._pause - self._runtime.monotonic() if self.state == "open" else 0.0
        headers = {
            "Proxy-Status": "gproxy; error=destination_unavailable",
            "Retry-After": str(max(1, math.ceil(left))),
        }
        return HTTPError(503, "circuit breaker open: too many failures", headers, reason="breaker_open")

    def snapshot(self) -> dict[str, Any]:
        """Return the breaker's state for /health."""
        left = self._since + self._pause - self._runtime.monotonic()
        if self.state == "open":
            return {"breaker": "open", "next_try_in": round(max(0.0, left), 1)}
        if self.state == "recovering" and left <= 0:  # no request has come since that would have closed it
            self._close()
        return {"breaker": "closed" if self.state == "closed" else "half_open"}
