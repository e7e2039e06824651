"""A named group of backends: which of them are available, and whose turn it is."""

import math
from collections.abc import Sequence
from typing import Any, Final

import gevent

from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.http.handler import Handler, Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.runtime import Runtime
from gproxy.upstream.admission.circuit_breaker import Breaker
from gproxy.upstream.admission.concurrency_limit import Limit
from gproxy.upstream.backend import Backend, measure, show
from gproxy.upstream.balance import POLICIES, Balancer
from gproxy.upstream.balance.slow_start import SlowStart
from gproxy.upstream.discovery import Members
from gproxy.upstream.dns import Lookup, look_up
from gproxy.upstream.health.active import ActiveCheck
from gproxy.upstream.health.passive import Passive
from gproxy.upstream.health.shared import Accord
from gproxy.upstream.retry import Budget

#: How long a trial without an end, a client that has left for instance, keeps others from being one; in seconds.
_LONGEST_TRIAL: Final = 60.0


class Upstream:
    """Live: built whole; health changes which backends `pick` sees.

    `balancer` is the user's own; otherwise the settings name one of ours.
    """

    #: What it adds to the chain of every route that leads to it, innermost.
    handlers: tuple[Handler, ...] = ()

    def __init__(
        self, settings: UpstreamSettings, balancer: Balancer | None = None, *, lookup: Lookup = look_up
    ) -> None:
        self.name = settings.name
        self.settings = settings
        self.balancer = balancer or POLICIES[str(settings.balance)](settings)
        self._members = Members(settings, self.replace, lookup)
        #: Always the same list: others hold it too.
        self.backends = self._members.all()
        #: Replaced while they had attempts under way.
        self._leaving: list[Backend] = []
        self.budget = Budget(settings.retry_budget, self.backends)
        self._limited = any(backend.max_connections for backend in self.backends)
        self.breaker = Breaker(settings) if settings.breaker else None
        self.limit = Limit(settings) if settings.max_requests or settings.queue else None
        self.passive = Passive(settings, self.backends, self.refresh, self._members.doubt)
        #: PERF: what attempts tell, without a step in between.
        self.answered = self.passive.answered
        self.failed = self.passive.failed
        self.blame = self.passive.blame
        self.complain = self.passive.complain
        #: When an ejected backend is to be tried, or one has warmed up; None while nobody is out, on trial or warming.
        self._next_change: float | None = None
        self._slow_start = SlowStart(settings.slow_start)
        #: May a candidate be full, or one that is warming up?
        self._choosy = False
        self._tiers: tuple[list[Backend], ...] = ()
        self._candidates: list[Backend] = []
        self._greenlets: list[gevent.Greenlet] = []
        self._checks: dict[Backend, ActiveCheck] = {}
        self._probes = False
        self._is_open = False
        self.runtime = Runtime()
        self.refresh()

    def open(self, runtime: Runtime) -> None:
        """Start what runs beside the requests: trimming of pools, look-ups of names, active checks."""
        self.runtime = self.passive.runtime = runtime
        if self.breaker:
            self.breaker.runtime = runtime
        self.balancer.use(runtime)
        self._slow_start.clock = runtime.monotonic
        self._greenlets += self._members.open(runtime)
        self.refresh()
        self._greenlets.append(runtime.spawn(self._keep_house))
        self._watch(self.backends)
        self._is_open = True
        self._accord = Accord(self, runtime)

    def _watch(self, backends: Sequence[Backend]) -> None:
        """Have them counted, and probed if there is something to probe."""
        for backend in backends:
            show(self.name, backend, self.runtime.metrics)
            if self.settings.health_path and not backend.is_down:
                check = ActiveCheck(self.settings, backend, self.mark_probe, self.runtime)
                self._checks.setdefault(backend, check)

    def replace(self, backends: list[Backend]) -> None:
        """These take part from now on; those that do no more finish what they have."""
        gone = [backend for backend in self.backends if backend not in backends]
        came = [backend for backend in backends if backend not in self.backends]
        self.backends[:] = backends
        for backend in gone:
            backend.retire()
            self.passive.forget(backend)
            if check := self._checks.pop(backend, None):
                check.stop()
        self._leaving = [backend for backend in (*self._leaving, *gone) if backend.active]
        if self._is_open:
            self._welcome(came)
        self.refresh()

    def _welcome(self, came: Sequence[Backend]) -> None:
        for backend in came:
            backend.was_healthy = False  # it starts slowly, like one that comes back
            if self.runtime.metrics.wanted:
                measure(self.name, backend, self.runtime.metrics)
        self._watch(came)
        if self._probes:
            self.start_checks()

    def close(self) -> None:
        self._accord.close()
        self.stop_checks()
        gevent.killall(self._greenlets)
        for backend in self.backends:
            backend.close()

    def start_checks(self) -> None:
        """Probe, if there is something to probe; `open` does so."""
        self._probes = True
        for check in self._checks.values():
            check.start()

    def stop_checks(self) -> None:
        """Leave probing to somebody else, who calls `mark_probe`."""
        self._probes = False
        for check in self._checks.values():
            check.stop()

    def guard(self, forward: Next) -> Next:
        """The last step with what may keep a request from it; the step itself if that is nothing."""
        if self.breaker:
            forward = self.breaker.judging(forward)
        if self.limit:
            forward = self.limit.before(forward)
        if self.breaker:
            forward = self.breaker.before(forward)
        return self._named(forward) if self.breaker or self.limit else forward

    def _named(self, guarded: Next) -> Next:
        """So that the access line of a request that is refused here says where."""

        def named(request: Request) -> Response:
            request.upstream = self.name
            return guarded(request)

        return named

    def pick(self, request: Request, tried: Sequence[Backend] = ()) -> Backend | None:
        """The next backend for this request that was not tried yet; None if there is none."""
        if self._next_change is not None and self.runtime.monotonic() >= self._next_change:
            self.refresh()
        if tried:
            available = self._available(tried)
            backend = self.balancer.pick_again(available, request) if available else None
        else:
            candidates = self._candidates
            backend = self.balancer.pick(candidates, request) if candidates else None
            if self._choosy and backend is not None:
                backend = self._confirm(backend, request)
        if self._next_change is not None and backend is not None:
            self._put_to_trial(backend, request)
        return backend

    def _put_to_trial(self, backend: Backend, request: Request) -> None:
        """The request that comes to a backend whose time is over, or that is a last resort, decides about it."""
        if backend.health.is_open_to_trial:
            longest = self.runtime.monotonic() + _LONGEST_TRIAL
            backend.health.try_with(request, min(request.deadline.expires, longest))
            self.refresh()

    def _pick_of(self, backends: Sequence[Backend], request: Request) -> Backend | None:
        return self.balancer.pick(backends, request) if backends else None

    def _confirm(self, backend: Backend, request: Request) -> Backend | None:
        """It, or one of the others if it cannot be had. PERF: all are looked at only if it cannot."""
        slow = self._slow_start
        if not slow.warming:
            return self._pick_of(self._available(()), request) if backend.is_full else backend
        slow.earn()
        if backend.is_full or not slow.admits(backend):
            found = self._pick_of(slow.admitted(self._available(())), request)
            if found is None:
                return None
            backend = found
        slow.spend(backend)
        return backend

    def _available(self, tried: Sequence[Backend]) -> list[Backend]:
        for tier in self._tiers:
            found = [backend for backend in tier if backend not in tried and not backend.is_full]
            if found:
                return found
        return []

    def refresh(self) -> None:
        """Decide anew who takes part: the healthy ones, else the healthy backups, else all that are not marked down.

        A request that has tried one tier in vain goes on to the next: what is left out may be back already.
        To be called after every change of a backend's health.
        """
        now = self.runtime.monotonic()
        doubtful = [backend.health for backend in self.backends if backend.health.doubtful]
        for health in doubtful:
            if health.ejected_until and health.ejected_until <= now:
                health.expire()
        part = [backend for backend in self.backends if backend.takes_part]
        healthy = [backend for backend in part if backend.is_healthy]
        self._tiers = (
            [backend for backend in healthy if not backend.is_backup],
            [backend for backend in healthy if backend.is_backup],
            [backend for backend in part if not backend.is_healthy],
        )
        self._note_returns(now)
        self._candidates = next(filter(None, self._tiers), [])
        self.balancer.expect(self._candidates)
        warm_at = self._slow_start.expect(self._candidates, now)
        self._choosy = self._limited or warm_at is not None
        changes = [health.ejected_until or math.inf for health in doubtful if not health.is_failing]
        self._next_change = min(changes if warm_at is None else [*changes, warm_at], default=None)
        if self.limit:
            self.limit.resize(self._room())

    def _note_returns(self, now: float) -> None:
        """Who is healthy after it was not; at the start nobody comes back, and on trial nobody is back yet."""
        for backend in self.backends:
            if backend.is_healthy and not backend.health.on_trial:
                if backend.was_healthy is False:
                    backend.returned_at = now
                backend.was_healthy = True
            elif backend.was_healthy:
                backend.was_healthy = False

    def _room(self) -> float:
        """How many requests the candidates take together."""
        room = [backend.max_connections or math.inf for backend in self._candidates if not backend.health.on_trial]
        return sum(room) if room else math.inf

    def mark_probe(self, backend: Backend, passes: bool, why: str) -> None:
        """What the probes of a backend have come to, whoever sends them; a good one ends an ejection's wait."""
        health = backend.health
        changed = passes != health.passes
        if passes and health.ejected_until and not health.on_trial:
            health.expire()
            changed = True
        again = " again" if health.decided else ""
        was_passing = health.passes
        health.mark_probe(passes, why)
        if changed:
            self.refresh()
        if passes != was_passing:
            self.runtime.log.warning(
                "upstream %s: backend %s %s", self.name, backend.name,
                f"passes its health checks{again}" if passes else f"fails its health checks: {why}",
            )

    def snapshot(self) -> list[dict[str, Any]]:
        """Each backend's state for /health."""
        now = self.runtime.monotonic()
        leaving = [{**backend.snapshot(now), "state": "leaving"} for backend in self._leaving if backend.active]
        return [backend.snapshot(now) for backend in self.backends] + leaving

    def admission(self) -> dict[str, Any]:
        """What keeps requests from the backends, for /health; empty if nothing can."""
        return {**(self.breaker.snapshot() if self.breaker else {}), **(self.limit.snapshot() if self.limit else {})}

    def _keep_house(self) -> None:
        while True:
            gevent.sleep(1.0)
            for backend in self.backends:
                backend.trim(self.settings.idle_timeout)
            self.passive.summarize()
