"""A circuit breaker: while an upstream fails too often, or is too slow, its requests are answered with 503 at once.

closed: requests pass, and are counted over a sliding window. open: none passes for `breaker_open`. Then one at a time
is let through until one has gone well, and then a share that grows from nothing to all of them within `breaker_open`;
if those fail too, it opens again. What is counted is what clients get, after all retries: attempts that another
backend makes up for are the business of health.
"""

import math
from typing import Any, Final, Literal

from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types.matchers import as_set
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.runtime import Runtime
from gproxy.upstream.failure import UNFINISHED

State = Literal["closed", "open", "trial", "recovering"]

#: Into how many steps the window is cut.
_STEPS: Final = 10
#: How many requests it takes to open a breaker that is recovering.
_FEW: Final = 3
#: What an upstream's faults become: everything else that is raised is the client's, or ours.
_FAULTS: Final = frozenset({502, 504})
#: A trial waits for a body of at most so many bytes to be complete.
_COLLECTED: Final = 64 * 1024


class Window:
    """How many requests there were in the last so many seconds, how many failed and how many were slow."""

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
        """What is older than the window counts no more."""
        for passed in range(max(self._step + 1, step - _STEPS + 1), step + 1):
            bucket = self._buckets[passed % _STEPS]
            self.total -= bucket[0]
            self.failed -= bucket[1]
            self.slow -= bucket[2]
            bucket[:] = 0, 0, 0
        self._step = step
        self._bucket = self._buckets[step % _STEPS]


class Breaker:
    """One upstream's; `before` and `judging` wrap the steps between which requests may wait for their turn."""

    def __init__(self, settings: UpstreamSettings, runtime: Runtime | None = None) -> None:
        self.runtime = runtime or Runtime()
        self.state: State = "closed"
        self._name = settings.name
        self._failing = as_set(settings.fail_statuses)
        self._errors = settings.breaker_errors
        # A quantile is above a limit exactly if more than the rest are: no latencies need to be kept.
        self._latency = settings.breaker_latency or math.inf
        self._slow = 1 - settings.breaker_quantile
        self._least = settings.breaker_requests
        self._pause = settings.breaker_open
        self._window = Window(settings.breaker_window)
        #: Since when it is open or recovering, and how often it has opened: older requests decide nothing any more.
        self._since = 0.0
        self._era = 0
        self._is_trying = False
        #: When a larger body may next be tried before it is complete.
        self._next_upload = 0.0
        self._asked = self._admitted = 0

    def before(self, following: Next) -> Next:
        """Lets requests through, or raises HTTPError 503."""

        def admit(request: Request) -> Response:
            return following(request) if self.state == "closed" else self._admit(request, following)

        return admit

    def judging(self, following: Next) -> Next:
        """Counts how requests fare. Those that have waited until the breaker opened get a 503 as well."""

        def judge(request: Request) -> Response:
            if self.state == "open":
                raise self._refusal()
            now, era, deadline = self.runtime.monotonic, self._era, request.deadline
            started, expires = now(), deadline.expires
            try:
                response = following(request)
            except HTTPError as error:
                if error.status in _FAULTS and error.reason != UNFINISHED.reason and era == self._era:
                    self.note(now(), 0.0, failed=True)
                raise
            if era == self._era:
                ended = now()
                moved = deadline.expires - expires  # by what was spent waiting for the client
                seconds = ended - started - (moved if 0 < moved < math.inf else 0.0)
                self.note(ended, seconds, failed=response.status in self._failing)
            return response

        return judge

    def _admit(self, request: Request, following: Next) -> Response:
        now = self.runtime.monotonic()
        if self.state == "open" and now >= self._since + self._pause:
            self.state = "trial"
        if self.state == "trial":
            return self._try(request, following, now)
        if self.state == "recovering" and self._has_share(now):
            return following(request)
        raise self._refusal()

    def _try(self, request: Request, following: Next, now: float) -> Response:
        """Half-open: let one complete request at a time decide, so that no slow upload keeps the others out.

        A body too large to be waited for is tried beside it, one each time the breaker would open for.
        """
        body = request.body
        if not body.done:
            if (body.length or 0) <= _COLLECTED and body.collect(_COLLECTED):
                return self.before(following)(request)  # the breaker may have changed meanwhile
            if now < self._next_upload:
                raise self._refusal()
            self._next_upload = now + self._pause
            return following(request)
        if self._is_trying:
            raise self._refusal()
        self._is_trying = True
        try:
            return following(request)
        finally:
            self._is_trying = False

    def _has_share(self, now: float) -> bool:
        """Is this request one of the growing share? Once that is everything, the breaker is closed."""
        share = (now - self._since) / self._pause
        if share >= 1:
            self._close()
            return True
        self._asked += 1
        if self._admitted > share * self._asked:
            return False
        self._admitted += 1
        return True

    def _close(self) -> None:
        self.state = "closed"
        self.runtime.log.warning("upstream %s: the breaker is closed", self._name)

    def note(self, now: float, seconds: float, *, failed: bool) -> None:
        """How a request fared that was let through: it ended now and took so long."""
        slow = seconds > self._latency
        self._window.add(now, failed, slow)
        if failed or slow:
            if self._is_too_bad():
                self._open(now)
        elif self.state == "trial":
            self.state, self._since = "recovering", now
            self._asked = self._admitted = 0
            self._window.clear()
            self.runtime.log.warning("upstream %s: the breaker lets a growing share through", self._name)

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
        self.runtime.log.warning(
            "upstream %s: the breaker opens for %g s: of %d requests %d failed and %d were slow",
            self._name, self._pause, window.total, window.failed, window.slow,
        )
        self.state, self._since = "open", now
        self._era += 1
        window.clear()

    def _refusal(self) -> HTTPError:
        left = self._since + self._pause - self.runtime.monotonic() if self.state == "open" else 0.0
        headers = {
            "Proxy-Status": "gproxy; error=destination_unavailable",
            "Retry-After": str(max(1, math.ceil(left))),
        }
        return HTTPError(503, "the backends fail too often; they are left alone", headers, reason="breaker_open")

    def snapshot(self) -> dict[str, Any]:
        """Its state for /health."""
        left = self._since + self._pause - self.runtime.monotonic()
        if self.state == "open":
            return {"breaker": "open", "next_try_in": round(max(0.0, left), 1)}
        if self.state == "recovering" and left <= 0:  # and nobody has come to find out
            self._close()
        return {"breaker": "closed" if self.state == "closed" else "half_open"}
