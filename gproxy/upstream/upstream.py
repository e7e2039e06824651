"""An upstream: a named group of backends, and its life cycle."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import gevent

from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.http.handler import Handler, Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.runtime import Runtime
from gproxy.state.shared.memory import SharedState
from gproxy.upstream.admission.circuit_breaker import CircuitBreaker
from gproxy.upstream.admission.concurrency_limit import ConcurrencyLimit
from gproxy.upstream.backend import Backend
from gproxy.upstream.balance import BalancingPolicy
from gproxy.upstream.balance.slow_start import SlowStart
from gproxy.upstream.discovery import SOCKETS, Discovery, Network
from gproxy.upstream.health.active import ActiveHealthCheck
from gproxy.upstream.health.passive import GRPCPassiveHealth, PassiveHealth, may_eject
from gproxy.upstream.health.shared import Change, SharedHealth
from gproxy.upstream.override import BackendOverride
from gproxy.upstream.retry import Budget
from gproxy.upstream.rotation import MakeRotation, Rotation
from gproxy.upstream.upstream_metrics import UpstreamMetrics

#: How often a worker publishes its health records and reads those of the others, in seconds.
_SYNC_EVERY: Final = 0.1


class Upstream:
    """A group of backends, composed of discovery, rotation, health checks, retry budget, limit and breaker."""

    #: The handlers that this upstream adds to the chain of each of its routes, innermost.
    handlers: tuple[Handler, ...] = ()

    def __init__(
        self,
        settings: UpstreamSettings,
        policy: BalancingPolicy,
        runtime: Runtime,
        *,
        rotation: MakeRotation = Rotation,
        network: Network = SOCKETS,
    ) -> None:
        self.name = settings.name
        self.settings = settings
        self.runtime = runtime
        self._discovery = Discovery(settings, self.replace, runtime, network)
        #: Always the same list object, because other objects refer to it.
        self.backends = self._discovery.all()
        #: The changes by operators, by the backend's name.
        self._overrides: dict[str, BackendOverride] = {}
        #: Backends that were removed with active attempts.
        self._leaving: list[Backend] = []
        self.budget = Budget(settings.retry.budget, self.backends)
        self.breaker = CircuitBreaker(settings, runtime) if settings.breaker.enabled else None
        self.limit = ConcurrencyLimit(settings.queue) if settings.queue.max_requests or settings.queue.length else None
        policy.use(runtime)
        slow_start = SlowStart(settings.slow_start, runtime.monotonic)
        self.rotation = rotation(policy, slow_start, runtime.monotonic, self.limit.resize if self.limit else None)
        self.rotation.set_backends(self.backends)
        passive = PassiveHealth if settings.http2 == "no" else GRPCPassiveHealth
        self.passive = passive(settings, self.backends, self.rotation.refresh, self._discovery.refresh_soon, runtime)
        self._metrics = UpstreamMetrics(self.name, runtime.metrics)
        self._greenlets: list[gevent.Greenlet] = []
        self._health_checks: dict[Backend, ActiveHealthCheck] = {}
        #: True if this worker probes; of several workers that share state, one does.
        self._is_prober = False
        self._is_open = False
        #: The health that all workers share, and the greenlet that keeps it and this worker's in step; None while this
        #: worker serves alone.
        self._shared_health: SharedHealth | None = None
        self._health_sync: gevent.Greenlet | None = None

    def __repr__(self) -> str:
        healthy = sum(backend.is_healthy for backend in self.backends)
        return f"<{type(self).__name__} {self.name}, {healthy} of {len(self.backends)} backends healthy>"

    def open(self) -> None:
        """Start the background tasks: trimming of pools, look-ups of names, probes."""
        self._greenlets += self._discovery.open()
        self.rotation.refresh()
        self._greenlets.append(self.runtime.spawn(self._maintain))
        self._metrics.watch(self.backends, self.breaker, self.limit)
        self._register(self.backends)
        self._is_open = True
        self.runtime.join(self)
        if self._shared_health is None:
            self.start_probing()

    def _register(self, backends: Sequence[Backend]) -> None:
        """Register the metrics of the backends, and make their health checks if an option asks for probes."""
        for backend in backends:
            self._metrics.add(backend)
            self._check(backend)

    def measure(self) -> None:
        """Time exchanges, connects and waits, because the metrics are in use."""
        self._metrics.measure(self.backends, self.limit)

    def _check(self, backend: Backend) -> None:
        """Make the health check of a backend that can serve; end that of a backend that is down."""
        if self.settings.health.sends_probes and not backend.is_down:
            if backend not in self._health_checks:
                check = ActiveHealthCheck(self.settings, backend, self.mark_probe, self.runtime)
                self._health_checks[backend] = check
        elif backend in self._health_checks:
            self._health_checks.pop(backend).stop()

    def override(self, name: str, override: BackendOverride | None) -> bool:
        """Change the backend of this name as an operator wants; None: as the file says. Return whether it is here.

        A change of a name that DNS resolves to this backend later counts too.
        """
        found = self._named_so(name)
        if not found:
            return False
        for backend in found:
            self._overrides.pop(backend.name, None)
            if override is not None:
                self._overrides[backend.name] = override
            self._apply_override(backend)
        self.rotation.refresh()
        return True

    def change(self, name: str, fields: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Override the backend with these fields, or end its override; return its state and weight before.

        Returns None if it is not here. Raises ValueError for fields that are no override.
        """
        override = None if fields is None else BackendOverride.of(fields)
        found = next(iter(self._named_so(name)), None)
        before = None if found is None else {**found.snapshot(self.runtime.monotonic()), "weight": found.weight}
        self.override(name, override)
        return before

    def _named_so(self, name: str) -> list[Backend]:
        """Return the backends of this name: HOST:PORT, with or without scheme, as the file or DNS has it."""
        return [backend for backend in self.backends if name in (backend.name, backend.label, backend.url.place)]

    def _apply_override(self, backend: Backend) -> None:
        backend.override(self._overrides.get(backend.name))
        if self._is_open:
            self._check(backend)
            if self._is_prober:
                self.start_probing()

    def _end_overrides(self) -> None:
        """End the changes whose time is over."""
        now = self.runtime.clock()
        ended = [backend.name for backend in self.backends if backend.overridden and backend.overridden.until <= now]
        for name in ended:
            self.runtime.log.info("upstream %s: the change of backend %s is over", self.name, name)
            self.override(name, None)

    def replace(self, backends: list[Backend]) -> None:
        """Replace the backends; the removed ones finish their active attempts."""
        removed = [backend for backend in self.backends if backend not in backends]
        added = [backend for backend in backends if backend not in self.backends]
        self.backends[:] = backends
        for backend in added:
            self._apply_override(backend)
        for backend in removed:
            backend.retire()
            self.passive.forget(backend)
            self._metrics.remove(backend)
            if check := self._health_checks.pop(backend, None):
                check.stop()
        self._leaving = [backend for backend in (*self._leaving, *removed) if backend.active]
        if self._is_open:
            self._start(added)
        self.rotation.set_backends(self.backends)

    def _start(self, added: Sequence[Backend]) -> None:
        """Start metrics and checks of backends that were added to the open upstream."""
        for backend in added:
            backend.start_slowly()
        if self.runtime.metrics.wanted:
            self._metrics.measure(added, self.limit)
        self._register(added)
        if self._is_prober:
            self.start_probing()

    def close(self) -> None:
        if self._health_sync is not None:
            self._health_sync.kill()
        self.stop_probing()
        gevent.killall(self._greenlets)
        for backend in self.backends:
            backend.close()

    def share(self, state: SharedState) -> None:
        """Share turns and health with the other workers; one of all workers probes."""
        self._shared_health = SharedHealth(state, self.name, self.backends)
        self.rotation.policy.share(state, self.name)
        self._sync_health()
        self._health_sync = gevent.spawn(self._keep_health_in_sync)

    def unshare(self, _: SharedState) -> None:
        """Stop sharing after the end of the other workers, and probe in this worker."""
        if self._health_sync is not None:
            self._health_sync.kill()
        if self._shared_health is None:
            return
        self._sync_health()
        self._shared_health.close()
        self._shared_health = None
        self.rotation.policy.unshare()
        self.start_probing()

    def _keep_health_in_sync(self) -> None:
        while True:
            gevent.sleep(_SYNC_EVERY)
            self._sync_health()

    def _sync_health(self) -> None:
        """Publish this worker's health records, and apply those that other workers have published.

        Begin or stop to probe: the worker that gets the probers' lock keeps it until it ends or drains.
        """
        assert self._shared_health is not None  # noqa: S101 share() was called
        look = self._shared_health.look(self.backends, draining=self.runtime.draining)
        (self.start_probing if look.leads else self.stop_probing)()
        for change in look.changed:
            self._apply(change, self._shared_health)
        if look.changed:
            self.rotation.refresh()

    def _apply(self, change: Change, shared_health: SharedHealth) -> None:
        """Apply a health record that another worker has published.

        Two workers may eject different backends at once. Keep the backend if the two ejections together are too many.
        """
        health, record, before = change.backend.health, change.record, change.before
        if record.passes != health.passes or not health.is_probed:
            health.mark_probe(record.passes, record.why)
        if record.ejected_until > self.runtime.monotonic():
            if may_eject(change.backend, self.backends):
                health.eject(record.ejected_until, record.why)
            else:
                health.mark_failing(record.why)
                shared_health.keep(change.backend)
        elif before and before.ejected_until and not record.ejected_until:
            health.restore()

    def start_probing(self) -> None:
        """Start the health checks; `open` calls this unless another worker may probe."""
        self._is_prober = True
        for check in self._health_checks.values():
            check.start()

    def stop_probing(self) -> None:
        """Stop the health checks: another worker probes."""
        self._is_prober = False
        for check in self._health_checks.values():
            check.stop()

    def guard(self, forward: Next) -> Next:
        """Return the forward action behind the circuit breaker and the concurrency limit, if they are configured.

        The breaker has two steps, around the queue of the limit: the outer one rejects while the breaker is open, the
        inner one judges the result, so that the wait in the queue is not judged.
        """
        if self.breaker:
            forward = self.breaker.judging(forward)
        if self.limit:
            forward = self.limit.before(forward)
        if self.breaker:
            forward = self.breaker.before(forward)
        return self._named(forward) if self.breaker or self.limit else forward

    def _named(self, guarded: Next) -> Next:
        """Return a step that sets `request.upstream`, for the access line of a request that is rejected here."""

        def named(request: Request) -> Response:
            request.upstream = self.name
            return guarded(request)

        return named

    def mark_probe(self, backend: Backend, passes: bool, why: str) -> None:
        """Apply a decision of the probes to a backend; a passing backend that is ejected becomes half-open."""
        health = backend.health
        changed = passes != health.passes
        if passes and health.ejected_until and not health.is_half_open:
            health.half_open()
            changed = True
        again = " again" if health.is_probed else ""
        was_passing = health.passes
        health.mark_probe(passes, why)
        if changed:
            self.rotation.refresh()
        if passes != was_passing:
            self.runtime.log.warning(
                "upstream %s: backend %s %s",
                self.name,
                backend.name,
                f"passes its health checks{again}" if passes else f"fails its health checks: {why}",
            )

    def snapshot(self) -> list[dict[str, Any]]:
        """Return the state of each backend for /health."""
        now = self.runtime.monotonic()
        leaving = [{**backend.snapshot(now), "state": "leaving"} for backend in self._leaving if backend.active]
        return [backend.snapshot(now) for backend in self.backends] + leaving

    def admission(self) -> dict[str, Any]:
        """Return the state of the circuit breaker and of the concurrency limit for /health; empty without them."""
        return {**(self.breaker.snapshot() if self.breaker else {}), **(self.limit.snapshot() if self.limit else {})}

    def _maintain(self) -> None:
        while True:
            self.runtime.sleep(1.0)
            self.budget.sample()
            self._end_overrides()
            for backend in (*self.backends, *self._leaving):
                backend.trim(self.settings.idle_timeout)
