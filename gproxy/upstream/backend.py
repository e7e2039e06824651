"""One address of an upstream: its pool, its load, its health."""

import math
from collections import deque
from time import monotonic
from typing import Any

from gproxy.config.types import BackendURL
from gproxy.http.request import Deadline
from gproxy.upstream.pool import Idle, PlainPool, TLSPool


class Backend:
    """Live: built whole, its counters change. `name` is host:port, for logs and /health, never for clients."""

    def __init__(self, url: BackendURL, *, keepalive: int, connect_timeout: float) -> None:
        self.name = f"[{url.host}]:{url.port}" if ":" in url.host else f"{url.host}:{url.port}"
        self.scheme = url.scheme
        #: What `host = backend` sends.
        default_port = url.port == (443 if url.scheme == "https" else 80)
        self.authority = self.name.rpartition(":")[0] if default_port else self.name
        self.weight = url.weight
        self.max_connections = url.max_connections or 0
        self.is_backup = bool(url.backup)
        self.is_down = bool(url.down)
        #: Takes no new clients.
        self.is_draining = bool(url.drain)
        pool_class = TLSPool if url.scheme == "https" else PlainPool
        self.pool = pool_class(url.host, url.port, maxsize=keepalive, timeout=connect_timeout, retries=False)
        self._idle: Idle = self.pool.pool  # type: ignore[assignment]
        self._connect_timeout = connect_timeout
        #: Attempts under way.
        self.active = 0
        #: Attempts since the start, and those that failed.
        self.attempts = 0
        self.failures = 0
        #: When it failed lately, on the monotonic clock; the oldest goes first.
        self.recent_failures: deque[float] = deque(maxlen=1000)
        #: What active checks say; True where there are none.
        self.passes_checks = True
        #: Until when it is left out after failing, on the monotonic clock; 0 if it is not.
        self.ejected_until = 0.0
        self.ejections = 0
        #: Fails as often as others are left out for; it may be the last one.
        self.is_failing = False
        #: What the upstream found last; None if it was never healthy yet.
        self.was_healthy: bool | None = None
        #: When it became healthy again after it had not been, on the monotonic clock.
        self.returned_at = -math.inf
        #: Why it is not healthy, for /health and the log.
        self.why = ""

    @property
    def is_healthy(self) -> bool:
        """Probes and failures fine."""
        return self.passes_checks and not self.ejected_until and not self.is_down

    @property
    def is_full(self) -> bool:
        """At its limit of attempts under way."""
        return 0 < self.max_connections <= self.active

    def connection(self, deadline: Deadline) -> Any:
        """A lease on a connection that is open. Raises what urllib3 raises when it cannot connect."""
        self.active += 1
        self.attempts += 1
        connection = self._idle.take()
        if connection is None:
            connection = self.pool._new_conn()
            try:
                connection.timeout = min(self._connect_timeout, deadline.remaining())
                connection.connect()
            except BaseException:
                self.drop(connection)
                raise
        return connection

    def release(self, connection: Any, rest: Any = None, *, keep: bool) -> None:
        """The response was read: keep the connection if the backend wants that and it can be used again."""
        if keep and connection.is_reusable(rest):
            self.active -= 1
            self._idle.keep(connection)
        else:
            self.drop(connection)

    def forget_idle(self) -> None:
        """One pooled connection was found dead: the others are as old, so the next attempt makes a new one."""
        self._idle.clear()

    def drop(self, connection: Any) -> None:
        """Something went wrong in the middle: nobody knows what the connection would say next."""
        self.active -= 1
        connection.close()

    def trim(self, idle_timeout: float) -> None:
        """Close what idles for too long; to be called once a second."""
        self._idle.trim(monotonic(), idle_timeout)

    def close(self) -> None:
        self.pool.close()

    @property
    def _state(self) -> str:
        if self.is_down:
            return "down"
        if self.is_failing or not self.is_healthy:
            return "unhealthy"
        return "draining" if self.is_draining else "healthy"

    def snapshot(self) -> dict[str, Any]:
        """Its state for /health."""
        facts: dict[str, Any] = {
            "backend": f"{self.scheme}://{self.name}",
            "state": self._state,
            "active": self.active,
            "attempts": self.attempts,
            "failures": self.failures,
        }
        if self.why and not self.is_healthy:
            facts["why"] = self.why
        if self.ejected_until:
            facts["next_try_in"] = round(max(0.0, self.ejected_until - monotonic()), 1)
        return facts

    def __repr__(self) -> str:
        return f"<Backend {self.name} active={self.active} {'healthy' if self.is_healthy else self.why}>"
