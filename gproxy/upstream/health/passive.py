"""Passive health: failures of requests eject a backend, and a successful trial restores it.

`max_fails` failures within `fail_window` eject a backend for `eject_time`, the n-th time in close succession for n
times as long. Then the backend is half-open: one request at a time is its trial. Success restores the backend, and
failure ejects it again, for longer.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from gproxy.config.sections.health_check import EjectionOptions
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types.matchers import as_set
from gproxy.http.grpc import STATUS_FIELD, UNAVAILABLE, is_grpc, status_in
from gproxy.http.request import Request
from gproxy.http.response import ResponseHead
from gproxy.runtime import Runtime
from gproxy.upstream.backend import Backend
from gproxy.upstream.failure import GRPC_UNAVAILABLE, Failure, is_caused_by_client

#: The longest ejection in seconds, unless eject_time is longer.
_LONGEST_EJECTION: Final = 60.0
#: The time in rotation that makes up for one ejection, in seconds.
_FORGIVE_AFTER: Final = 60.0
#: A smaller share of failures among all attempts ejects nothing: some URL is broken, and the backend is not.
_SHARE: Final = 0.1
#: How many failures of each backend are remembered.
_MEMORY: Final = 30
#: The gRPC status of a failure, in the log.
_UNAVAILABLE: Final = f"{STATUS_FIELD} {UNAVAILABLE}"


class EjectionPolicy:
    """The rules that say when to eject a backend, and for how long; the caller passes time and random numbers."""

    def __init__(self, options: EjectionOptions) -> None:
        self._max_fails = options.max_fails
        self._window = options.fail_window
        self._time = options.eject_time
        #: For each backend its failures: the time, and the number of attempts until then.
        self._failures: dict[Backend, deque[tuple[float, int]]] = {}

    def add_failure(self, backend: Backend, now: float) -> bool:
        """Record a failure, and return whether the backend has too many; `may_eject` may still forbid an ejection."""
        if not self._max_fails:
            return False
        failures = self._failures.setdefault(backend, deque(maxlen=max(_MEMORY, self._max_fails)))
        failures.append((now, backend.attempts))
        while failures[0][0] < now - self._window:
            failures.popleft()
        attempts = backend.attempts - failures[0][1] + 1
        return len(failures) >= self._max_fails and len(failures) >= attempts * _SHARE

    def forget(self, backend: Backend) -> None:
        """Forget the failures of a backend."""
        self._failures.pop(backend, None)

    def forgive(self, backend: Backend, now: float) -> None:
        """Lower the number of ejections by the time that the backend has been in rotation since the last one."""
        health = backend.health
        if health.ejections and not health.is_half_open:
            forgiven = (now - backend.returned_at) / _FORGIVE_AFTER
            health.ejections -= int(min(forgiven, health.ejections))

    def duration(self, backend: Backend, draw: float) -> float:
        """Return the length of the next ejection in seconds; `draw`, from 0 to 1, is the jitter."""
        times = backend.health.ejections + 1
        return min(self._time * times, max(_LONGEST_EJECTION, self._time)) * (1 + draw / 10)


def may_eject(backend: Backend, backends: Sequence[Backend]) -> bool:
    """Return whether the backend may be ejected.

    At least one other backend must be healthy, and the healthy others must be at least half of the eligible ones.
    """
    eligible = [one for one in backends if one.is_eligible]
    others = [one for one in eligible if one.is_healthy and one is not backend]
    return bool(others) and (len(eligible) - len(others)) * 2 <= len(eligible)


class PassiveHealth:
    """The passive health of one upstream's backends; every attempt reports to it.

    - `answered` gets the head of a response. `_judge` decides whether it is a failure, or a success that restores.
    - `failed` gets an attempt without a response, logs it and calls `record_failure`.
    - `record_failure` gets a failure that is logged elsewhere, such as a response that breaks off.
    - `_count` gets the failures that count against the backend, and ejects it or marks it as failing.

    PassiveHealth calls `changed` after every change of a backend's health, and `unreached` for a backend that cannot be
    reached.
    """

    def __init__(
        self,
        settings: UpstreamSettings,
        backends: Sequence[Backend],
        changed: Callable[[], None],
        unreached: Callable[[Backend], None],
        runtime: Runtime,
    ) -> None:
        self._unreached = unreached
        self._name = settings.name
        self._backends = backends
        self._changed = changed
        self._ejection = EjectionPolicy(settings.ejection)
        self._fail_statuses = as_set(settings.ejection.fail_statuses)
        self._lowest = min(self._fail_statuses, default=1000)
        self._runtime = runtime

    def answered(self, request: Request, backend: Backend, head: ResponseHead) -> None:
        """Report the head of a response."""
        status = head.status
        if status >= self._lowest or backend.health.doubtful:  # PERF: almost never
            self._judge(request, backend, status)

    def _judge(self, request: Request, backend: Backend, status: int) -> None:
        health = backend.health
        if status in self._fail_statuses and not is_caused_by_client(request, status):
            backend.failures += 1
            self._warn_of_backend(request, backend, f"status {status}", f"status {status}")
            self._count(request, backend, f"status {status}")
        elif health.is_failing or (health.is_half_open and health.trial is request):
            self.restore(backend)

    def failed(
        self, request: Request, backend: Backend, failure: Failure, cause: BaseException, why_not: str = ""
    ) -> None:
        """Log and record the failure of an attempt.

        `why_not` is why no retry follows; "" if one follows, or if the failure itself is the reason.
        """
        no_retry = f"; not retried: {why_not}" if why_not else ""
        detail = f"{failure.detail} ({_message(cause)}){no_retry}"
        self._warn_of_backend(request, backend, failure.reason + no_retry, detail)
        self.record_failure(request, backend, failure)

    def record_failure(self, request: Request, backend: Backend, failure: Failure) -> None:
        """Record a failure that the caller logs; too many failures eject the backend."""
        backend.failures += 1
        if failure.retryable_as == "connect":
            self._unreached(backend)
        if failure.counts_against_backend:
            self._count(request, backend, failure.reason)

    def _count(self, request: Request, backend: Backend, why: str) -> None:
        """Count a failure; eject the backend, or mark it as failing, if there are too many or its trial has failed."""
        health, now = backend.health, self._runtime.monotonic()
        if health.ejected_until and health.trial is not request:
            return  # the request was sent before the ejection, or as a last resort
        if health.trial is not request and not self._ejection.add_failure(backend, now):
            return
        if may_eject(backend, self._backends):
            self._ejection.forgive(backend, now)
            self.eject(backend, self._ejection.duration(backend, self._runtime.random.random()), why)
        elif health.trial is request or not health.is_failing:
            health.mark_failing(why)
            self._changed()

    def eject(self, backend: Backend, seconds: float, why: str) -> None:
        """Eject the backend for so many seconds; log it, unless the end of a logged ejection is still to come."""
        health, now = backend.health, self._runtime.monotonic()
        health.eject(now + seconds, why)
        backend.times_ejected += 1
        self._ejection.forget(backend)
        self._changed()
        if health.announced_until <= now:
            health.announced_until = now + seconds
            self._runtime.log.warning(
                "upstream %s: backend %s ejected for %.1f s: %s", self._name, backend.name, seconds, why
            )

    def forget(self, backend: Backend) -> None:
        """Forget a backend that discovery has removed."""
        self._ejection.forget(backend)

    def restore(self, backend: Backend) -> None:
        """Restore the backend to rotation."""
        was_failing = backend.health.is_failing
        backend.health.restore()
        self._ejection.forget(backend)
        self._changed()
        if not was_failing:
            self._runtime.log.warning("upstream %s: backend %s restored", self._name, backend.name)

    def _warn_of_backend(self, request: Request, backend: Backend, event: str, detail: str) -> None:
        kind = f"upstream {self._name}: backend {backend.name}: {event}"
        message = "%s %s %s: backend %s: %s"
        self._runtime.throttle.warn(kind, message, request.id, request.method, request.path, backend.name, detail)

    def warn_throttled(self, event: str) -> None:
        """Log an event of the upstream as a whole, unless it was logged within the throttle's period."""
        text = f"upstream {self._name}: {event}"
        self._runtime.throttle.warn(text, "%s", text)


class GRPCPassiveHealth(PassiveHealth):
    """The passive health of an upstream with HTTP/2: the gRPC status UNAVAILABLE counts as a failure, no other does.

    A backend that is unavailable sends a response that is only a head, as a rule; the status may be in trailers too.
    """

    def answered(self, request: Request, backend: Backend, head: ResponseHead) -> None:
        """Report the head of a response."""
        if is_grpc(head.headers) and head.headers.lookup(STATUS_FIELD) == UNAVAILABLE:
            self._unavailable(request, backend)
        else:
            super().answered(request, backend, head)

    def ended(self, request: Request, backend: Backend, trailers: Sequence[tuple[str, str]]) -> None:
        """Report the trailers of a gRPC response that was read to its end."""
        if status_in(trailers) == UNAVAILABLE:
            self._unavailable(request, backend)

    def _unavailable(self, request: Request, backend: Backend) -> None:
        self._warn_of_backend(request, backend, _UNAVAILABLE, _UNAVAILABLE)
        self.record_failure(request, backend, GRPC_UNAVAILABLE)


def _message(cause: BaseException) -> str:
    """Return the error's text, without the object that urllib3's messages begin with."""
    if isinstance(cause.__cause__, OSError):
        return str(cause.__cause__)
    return str(cause.args[-1] if len(cause.args) > 1 else cause) or type(cause).__name__
