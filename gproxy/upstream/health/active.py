"""Active health checks: probes of each backend's health path, from the start on.

A probe is not an attempt: it has a connection of its own, without a lease, so limits, pools and counters ignore it.
"""

from collections.abc import Callable

import gevent

from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.runtime import Runtime
from gproxy.upstream.backend import Backend
from gproxy.upstream.health.probe import Probe

#: A function that takes a decision of the probes: the backend, whether it passes, and why not.
Mark = Callable[[Backend, bool, str], None]


def _kind(settings: UpstreamSettings) -> type[Probe]:
    """Return the kind of probe that the settings ask for."""
    if settings.health.kind == "http":
        return Probe
    from gproxy.upstream.health.grpc_probe import GRPCProbe  # late: few upstreams need it

    return GRPCProbe


class ActiveHealthCheck:
    """The health check of one backend; it sends probes between `start` and `stop`."""

    def __init__(self, settings: UpstreamSettings, backend: Backend, mark: Mark, runtime: Runtime) -> None:
        self._settings = settings
        self._backend = backend
        self._mark = mark
        self._runtime = runtime
        self._probe = _kind(settings)(settings, runtime.bounded)
        self._greenlet: gevent.Greenlet | None = None
        #: How many probes in a row have contradicted the present state.
        self._streak = 0

    def start(self) -> None:
        """Start the probes, the first one at once."""
        self._greenlet = self._greenlet or self._runtime.spawn(self._run)

    def stop(self) -> None:
        greenlet, self._greenlet = self._greenlet, None
        if greenlet is not None:
            greenlet.kill()

    def _run(self) -> None:
        while True:
            why_not = self._probe(self._backend)
            pause = self._settings.health.interval * (0.9 + self._runtime.random.random() / 5)
            self._backend.health.next_probe = self._runtime.monotonic() + pause
            if why_not is not None:
                self.judge(why_not)
            self._runtime.sleep(pause)

    def judge(self, why_not: str) -> None:
        """Count the result of a probe: `rise` good ones in a row pass a backend, `fall` bad ones fail it.

        The first probe decides alone.
        """
        good = not why_not
        if self._is_decisive(good):
            self._streak = 0
            self._mark(self._backend, good, why_not)

    def _is_decisive(self, good: bool) -> bool:
        health = self._backend.health
        if not health.is_probed or good == health.passes:
            return True
        self._streak += 1
        options = self._settings.health
        return self._streak >= (options.rise if good else options.fall)
