"""Passive health: what requests meet decides who is left out, for how long, and how it comes back.

`max_fails` failures within `fail_window` leave a backend out for `eject_time`, the n-th time in close succession n
times as long. Then one request at a time is let through: if it goes well the backend is back, if not it is left out
again, longer.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types.matchers import as_set
from gproxy.http.request import Request
from gproxy.observe.throttle import Throttle
from gproxy.runtime import Runtime
from gproxy.upstream.backend import Backend
from gproxy.upstream.failure import Failure, is_clients_doing

#: The longest ejection, unless eject_time is longer, and what it takes to forget one, in seconds.
_LONGEST: Final = 60.0
#: Failures that are fewer than this part of all requests are no reason: some URL is broken, and the backend is not.
_SHARE: Final = 0.1
#: How many failures are remembered of each backend.
_MEMORY: Final = 30


class EjectionPolicy:
    """When a backend is to be left out, and for how long; time and chance are given."""

    def __init__(self, settings: UpstreamSettings) -> None:
        self._max_fails = settings.max_fails
        self._window = settings.fail_window
        self._time = settings.eject_time
        #: Of each backend, when it failed, and how many attempts there had been by then.
        self._failures: dict[Backend, deque[tuple[float, int]]] = {}

    def is_too_much(self, backend: Backend, now: float) -> bool:
        """Note a failure; was it one too many?"""
        if not self._max_fails:
            return False
        failures = self._failures.setdefault(backend, deque(maxlen=max(_MEMORY, self._max_fails)))
        failures.append((now, backend.attempts))
        while failures[0][0] < now - self._window:
            failures.popleft()
        attempts = backend.attempts - failures[0][1] + 1
        return len(failures) >= self._max_fails and len(failures) >= attempts * _SHARE

    def forget(self, backend: Backend) -> None:
        """It begins with a clean record."""
        self._failures.pop(backend, None)

    def duration(self, backend: Backend, now: float, draw: float) -> float:
        """How long this time, in seconds; `draw`, from 0 to 1, is the jitter. A good minute makes up for one time."""
        health = backend.health
        if health.ejections and not health.is_half_open:
            minutes = (now - backend.returned_at) / _LONGEST
            health.ejections -= int(min(minutes, health.ejections))
        times = health.ejections + 1
        return min(self._time * times, max(_LONGEST, self._time)) * (1 + draw / 10)


def may_eject(backend: Backend, backends: Sequence[Backend]) -> bool:
    """Never the last healthy one, and never more than half of those that take part."""
    part = [one for one in backends if one.is_eligible]
    others = [one for one in part if one.is_healthy and one is not backend]
    return bool(others) and (len(part) - len(others)) * 2 <= len(part)


class PassiveHealth:
    """Told by every attempt how it went; tells the upstream whenever that changes who takes part."""

    def __init__(
        self,
        settings: UpstreamSettings,
        backends: Sequence[Backend],
        changed: Callable[[], None],
        unreached: Callable[[Backend], None],
    ) -> None:
        self._unreached = unreached
        self._name = settings.name
        self._backends = backends
        self._changed = changed
        self._ejection = EjectionPolicy(settings)
        self._fail_statuses = as_set(settings.fail_statuses)
        self._lowest = min(self._fail_statuses, default=1000)
        self._throttle: Throttle[tuple[str, str]] = Throttle()
        self.runtime = Runtime()

    def answered(self, request: Request, backend: Backend, status: int) -> None:
        """A response's head has come."""
        if status >= self._lowest or backend.health.doubtful:  # PERF: almost never
            self._judge(request, backend, status)

    def _judge(self, request: Request, backend: Backend, status: int) -> None:
        health = backend.health
        if status in self._fail_statuses and not is_clients_doing(request, status):
            backend.failures += 1
            self._warn_throttled(request, backend, f"status {status}", f"it answered {status}")
            self._weigh(request, backend, f"status {status}")
        elif health.is_failing or (health.is_half_open and health.trial is request):
            self.restore(backend)

    def failed(
        self, request: Request, backend: Backend, failure: Failure, cause: BaseException, why_not: str = ""
    ) -> None:
        """An attempt failed, and there is no other one because of `why_not`."""
        unless = f"; not tried again: {why_not}" if why_not else ""
        self._warn_throttled(request, backend, failure.reason + unless, f"{failure.detail} ({_said(cause)}){unless}")
        self.record_failure(request, backend, failure)

    def record_failure(self, request: Request, backend: Backend, failure: Failure) -> None:
        """The same where somebody else logs it: too many of them eject the backend for a while."""
        backend.failures += 1
        if failure.retryable_as == "connect":
            self._unreached(backend)
        if failure.counts_against_backend:
            self._weigh(request, backend, failure.reason)

    def _weigh(self, request: Request, backend: Backend, why: str) -> None:
        health, now = backend.health, self.runtime.monotonic()
        if health.ejected_until and health.trial is not request:
            return  # it was sent before the backend was left out, or as a last resort
        if health.trial is not request and not self._ejection.is_too_much(backend, now):
            return
        if may_eject(backend, self._backends):
            self.eject(backend, self._ejection.duration(backend, now, self.runtime.random.random()), why)
        elif health.trial is request or not health.is_failing:
            health.mark_failing(why)
            self._changed()

    def eject(self, backend: Backend, seconds: float, why: str) -> None:
        """Leave it out for so long."""
        backend.health.eject(self.runtime.monotonic() + seconds, why)
        backend.times_ejected += 1
        self._ejection.forget(backend)
        self._changed()
        self.runtime.log.warning(
            "upstream %s: backend %s is left out for %.1f s: %s", self._name, backend.name, seconds, why
        )

    def forget(self, backend: Backend) -> None:
        """It takes no more part."""
        self._ejection.forget(backend)

    def restore(self, backend: Backend) -> None:
        """It is as good as the others."""
        was_failing = backend.health.is_failing
        backend.health.restore()
        self._ejection.forget(backend)
        self._changed()
        if not was_failing:
            self.runtime.log.warning("upstream %s: backend %s is back", self._name, backend.name)

    def _warn_throttled(self, request: Request, backend: Backend, what: str, detail: str) -> None:
        if self._throttle.is_first((backend.name, what), self.runtime.monotonic()):
            self.runtime.log.warning(
                "%s %s %s: backend %s: %s", request.id, request.method, request.path, backend.name, detail
            )

    def warn_throttled(self, what: str) -> None:
        """Of the upstream as a whole."""
        if self._throttle.is_first(("", what), self.runtime.monotonic()):
            self.runtime.log.warning("upstream %s: %s", self._name, what)

    def summarize(self) -> None:
        """Say what was not said; to be called once a second."""
        for (name, what), more in self._throttle.summaries(self.runtime.monotonic()):
            where = f"backend {name}: " if name else ""
            self.runtime.log.warning(
                "upstream %s: %s%s: %d more within %g s", self._name, where, what, more, self._throttle.period
            )


def _said(cause: BaseException) -> str:
    """In words: urllib3's begin with the connection as an object, which has no address of a socket or a name."""
    if isinstance(cause.__cause__, OSError):
        return str(cause.__cause__)
    return str(cause.args[-1] if len(cause.args) > 1 else cause) or type(cause).__name__
