"""A named group of backends: which of them are available, and whose turn it is."""

from collections.abc import Sequence
from typing import Any

import gevent

from gproxy.config.upstreams import UpstreamSettings
from gproxy.http.handler import Handler
from gproxy.http.request import Request
from gproxy.runtime import Runtime
from gproxy.upstream.backend import Backend
from gproxy.upstream.balance import POLICIES, Balancer
from gproxy.upstream.failure import Failure
from gproxy.upstream.health import ActiveCheck, Ejection
from gproxy.upstream.slow_start import SlowStart


class Upstream:
    """Live: built whole; health changes which backends `pick` sees.

    `balancer` is the user's own; otherwise the settings name one of ours.
    """

    #: What it adds to the chain of every route that leads to it, innermost.
    handlers: tuple[Handler, ...] = ()

    def __init__(self, settings: UpstreamSettings, balancer: Balancer | None = None) -> None:
        self.name = settings.name
        self.settings = settings
        self.balancer = balancer or POLICIES[str(settings.balance)](settings)
        self.backends = [
            self.balancer.backend_class(url, keepalive=settings.keepalive, connect_timeout=settings.connect_timeout)
            for url in settings.backends
        ]
        self.ejection = Ejection(settings.max_fails, settings.fail_window)
        self._limited = settings.max_connections > 0 or any(backend.max_connections for backend in self.backends)
        for backend in self.backends:
            backend.max_connections = backend.max_connections or settings.max_connections
        #: When the first ejected backend comes back, or has warmed up; None if there is none.
        self._next_change: float | None = None
        self._slow_start = SlowStart(settings.slow_start)
        #: May a candidate be full, or one that is warming up?
        self._choosy = False
        self._tiers: tuple[list[Backend], ...] = ()
        self._candidates: list[Backend] = []
        self._greenlets: list[gevent.Greenlet] = []
        self._runtime = Runtime()
        self.refresh()

    def open(self, runtime: Runtime) -> None:
        """Start what runs beside the requests: trimming of pools, active checks."""
        self._runtime = runtime
        self.balancer.use(runtime)
        self._slow_start.clock = runtime.monotonic
        self.refresh()
        self._greenlets.append(runtime.spawn(self._keep_house))
        if self.settings.health_path:
            self._greenlets += [
                runtime.spawn(ActiveCheck(self.settings, backend, self.refresh, runtime).run)
                for backend in self.backends
                if not backend.is_down
            ]

    def close(self) -> None:
        gevent.killall(self._greenlets)
        for backend in self.backends:
            backend.close()

    def pick(self, request: Request, tried: Sequence[Backend] = ()) -> Backend | None:
        """The next backend for this request that was not tried yet; None if there is none."""
        if self._next_change is not None and self._runtime.monotonic() >= self._next_change:
            self.refresh()
        if tried:
            available = self._available(tried)
            return self.balancer.pick_again(available, request) if available else None
        candidates = self._candidates
        backend = self.balancer.pick(candidates, request) if candidates else None
        if self._choosy and backend is not None:
            return self._confirm(backend, request)
        return backend

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
        """
        now = self._runtime.monotonic()
        for backend in self.backends:
            if backend.ejected_until and backend.ejected_until <= now:
                backend.ejected_until = 0.0  # one more failure ejects it again: `Ejection.failed`
        up = [backend for backend in self.backends if backend.weight and not (backend.is_down or backend.is_draining)]
        healthy = [backend for backend in up if backend.is_healthy]
        self._tiers = (
            [backend for backend in healthy if not backend.is_backup],
            [backend for backend in healthy if backend.is_backup],
            [backend for backend in up if not backend.is_healthy],
        )
        self._note_returns(now)
        self._candidates = next(filter(None, self._tiers), [])
        self.balancer.expect(self._candidates)
        warm_at = self._slow_start.expect(self._candidates, now)
        self._choosy = self._limited or warm_at is not None
        changes = [backend.ejected_until for backend in self.backends if backend.ejected_until]
        self._next_change = min(changes if warm_at is None else [*changes, warm_at], default=None)

    def _note_returns(self, now: float) -> None:
        """Who is healthy after it was not; at the start nobody comes back."""
        for backend in self.backends:
            if backend.is_healthy:
                if backend.was_healthy is False:
                    backend.returned_at = now
                backend.was_healthy = True
            elif backend.was_healthy:
                backend.was_healthy = False

    def failed(self, backend: Backend, failure: Failure) -> None:
        """An attempt failed; too many of them eject the backend for a while."""
        backend.failures += 1
        if not failure.blames:
            return
        now = self._runtime.monotonic()
        if self.ejection.failed(backend, self.backends, now, self._runtime.random):
            backend.why = failure.reason
            self.refresh()
            self._runtime.log.warning(
                "upstream %s: backend %s is left out for %.0f s: %s",
                self.name, backend.name, backend.ejected_until - now, failure.detail,
            )  # fmt: skip

    def succeeded(self, backend: Backend) -> None:
        """An attempt was answered; the usual case, so it must cost nothing."""
        if backend.recent_failures or backend.ejections:
            backend.is_failing = False
            self.ejection.succeeded(backend)
            if backend.ejected_until:
                backend.ejected_until = 0.0
                self.refresh()

    def snapshot(self) -> list[dict[str, Any]]:
        """Each backend's state for /health."""
        return [backend.snapshot() for backend in self.backends]

    def _keep_house(self) -> None:
        while True:
            gevent.sleep(1.0)
            for backend in self.backends:
                backend.trim(self.settings.idle_timeout)
