"""Who is left out: by what requests meet (passive) and by what probes find (active)."""

import random
from collections.abc import Callable, Sequence
from typing import Final

import gevent

from gproxy.config.upstreams import UpstreamSettings
from gproxy.http.errors import BadMessage
from gproxy.http.headers import Headers
from gproxy.http.request import Received, Request
from gproxy.runtime import Runtime
from gproxy.upstream.backend import Backend
from gproxy.upstream.failure import is_shortage

#: The longest ejection, in seconds.
_LONGEST: Final = 60.0


class Ejection:
    """Passive health: `max_fails` failures within `window` seconds leave a backend out, longer each time.

    Never the last healthy one, and never more than half of them: an upstream of one is never ejected. Once its time
    is over a backend is on trial: the next failure ejects it again.
    """

    def __init__(self, max_fails: int, window: float) -> None:
        self._max_fails = max_fails
        self._window = window

    def failed(self, backend: Backend, backends: Sequence[Backend], now: float, rng: random.Random) -> bool:
        """Note a failure; True if it ejects the backend."""
        recent = backend.recent_failures
        recent.append(now)
        while recent[0] < now - self._window:
            recent.popleft()
        on_trial = backend.ejections > 0
        if not self._max_fails or (len(recent) < self._max_fails and not on_trial):
            return False
        backend.is_failing = True
        if backend.ejected_until or not self._may_eject(backend, backends):
            return False
        backend.ejections += 1
        recent.clear()
        jitter = 1 + rng.random() / 10
        backend.ejected_until = now + min(self._window * backend.ejections, _LONGEST) * jitter
        return True

    def succeeded(self, backend: Backend) -> None:
        """One answer clears its record."""
        backend.recent_failures.clear()
        backend.ejections = 0

    @staticmethod
    def _may_eject(backend: Backend, backends: Sequence[Backend]) -> bool:
        healthy = [other for other in backends if other.is_healthy]
        return healthy != [backend] and (len(backends) - len(healthy) + 1) * 2 <= len(backends)


class ActiveCheck:
    """Asks one backend's health path again and again, at once at the start."""

    def __init__(
        self, settings: UpstreamSettings, backend: Backend, changed: Callable[[], None], runtime: Runtime
    ) -> None:
        self._settings = settings
        self._backend = backend
        self._changed = changed
        self._runtime = runtime
        self._streak = 0

    def run(self) -> None:
        """For as long as the upstream lives."""
        interval = self._settings.health_interval
        while True:
            why_not = self._ask()
            if why_not is not None:
                self.judge(why_not)
            gevent.sleep(interval * (0.9 + self._runtime.random.random() / 5))

    def judge(self, why_not: str) -> None:
        """`rise` good answers in a row bring a backend back, `fall` bad ones take it out."""
        backend = self._backend
        good = not why_not
        if good == backend.passes_checks:
            self._streak = 0
            return
        self._streak += 1
        if self._streak >= (self._settings.rise if good else self._settings.fall):
            self._streak = 0
            backend.passes_checks = good
            backend.why = why_not
            self._changed()
            self._runtime.log.warning(
                "upstream %s: backend %s %s", self._settings.name, backend.name,
                "passes its health checks again" if good else f"fails its health checks: {why_not}",
            )  # fmt: skip

    def _ask(self) -> str | None:
        """Why it is not healthy; empty if it is, None if we could not ask."""
        with gevent.Timeout(self._settings.health_timeout, False):
            try:
                status = self._probe()
            except (OSError, BadMessage) as error:
                return None if is_shortage(error) else str(error) or type(error).__name__
            except Exception as error:
                return None if is_shortage(error) else type(error).__name__
            return "" if 200 <= status < 400 else f"status {status}"
        return "timeout"

    def _probe(self) -> int:
        backend, path = self._backend, self._settings.health_path or "/"
        connection = backend.pool._new_conn()
        try:
            connection.timeout = self._settings.health_timeout
            connection.connect()
            fields = f"Host: {backend.authority}\r\nUser-Agent: gproxy-health\r\nConnection: close\r\n"
            head = f"GET {path} HTTP/1.1\r\n{fields}\r\n"
            request = Request(Received("GET", path, 1, [], ""), Headers(), backend.authority, path, "")
            answer = connection.exchange(head.encode(), request)  # type: ignore[attr-defined]
            return int(answer.status)
        finally:
            connection.close()
