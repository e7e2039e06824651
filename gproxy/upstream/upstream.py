"""A named group of backends: which of them are available, and whose turn it is."""

from collections.abc import Sequence
from time import monotonic
from typing import Any

import gevent

from gproxy.config.upstreams import UpstreamSettings
from gproxy.http.request import Request
from gproxy.runtime import Runtime
from gproxy.upstream.backend import Backend
from gproxy.upstream.balance import POLICIES, Balancer, Weighted
from gproxy.upstream.failure import Failure
from gproxy.upstream.health import ActiveCheck, Ejection


class Upstream:
    """Live: built whole; health changes which backends `pick` sees."""

    def __init__(self, settings: UpstreamSettings) -> None:
        self.name = settings.name
        self.settings = settings
        self.backends = [
            Backend(url, keepalive=settings.keepalive, connect_timeout=settings.connect_timeout)
            for url in settings.backends
        ]
        self.balancer = _balancer(settings, self.backends)
        self.ejection = Ejection(settings.max_fails, settings.fail_window)
        self._limited = settings.max_connections > 0 or any(backend.max_connections for backend in self.backends)
        for backend in self.backends:
            backend.max_connections = backend.max_connections or settings.max_connections
        #: When the first ejected backend comes back; None if there is none.
        self._next_return: float | None = None
        self._tiers: tuple[list[Backend], ...] = ()
        self._candidates: list[Backend] = []
        self._greenlets: list[gevent.Greenlet] = []
        self._runtime = Runtime()
        self.refresh()

    def open(self, runtime: Runtime) -> None:
        """Start what runs beside the requests: trimming of pools, active checks."""
        self._runtime = runtime
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
        if self._next_return is not None and monotonic() >= self._next_return:
            self.refresh()
        candidates = self._candidates
        if tried or self._limited:
            candidates = self._available(tried)
        return self.balancer.pick(candidates, request) if candidates else None

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
        now = monotonic()
        for backend in self.backends:
            if backend.ejected_until and backend.ejected_until <= now:
                backend.ejected_until = 0.0  # one more failure ejects it again: `Ejection.failed`
        up = [backend for backend in self.backends if backend.weight and not backend.is_down]
        healthy = [backend for backend in up if backend.is_healthy]
        self._tiers = (
            [backend for backend in healthy if not backend.is_backup],
            [backend for backend in healthy if backend.is_backup],
            [backend for backend in up if not backend.is_healthy],
        )
        self._candidates = next(filter(None, self._tiers), [])
        self._next_return = min((b.ejected_until for b in self.backends if b.ejected_until), default=None)

    def failed(self, backend: Backend, failure: Failure) -> None:
        """An attempt failed; too many of them eject the backend for a while."""
        backend.failures += 1
        if not failure.blames:
            return
        if self.ejection.failed(backend, self.backends, monotonic(), self._runtime.random):
            backend.why = failure.reason
            self.refresh()
            self._runtime.log.warning(
                "upstream %s: backend %s is left out for %.0f s: %s",
                self.name, backend.name, backend.ejected_until - monotonic(), failure.detail,
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


def _balancer(settings: UpstreamSettings, backends: Sequence[Backend]) -> Balancer:
    """Weights in the file count for round robin too."""
    equal = len({backend.weight for backend in backends}) == 1
    if settings.balance == "round_robin" and not equal:
        return Weighted()
    return POLICIES[settings.balance]()
