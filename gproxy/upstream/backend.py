"""One address of an upstream: its pool, its load, its health."""

import math
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from types import MappingProxyType
from typing import Any, Final

from gproxy.config.types import BackendURL
from gproxy.config.types.addresses import bracket
from gproxy.http.framing import Reader
from gproxy.http.request import Deadline
from gproxy.observe.metrics import Metrics
from gproxy.upstream.health.state import Health
from gproxy.upstream.http1.connect import Endpoint
from gproxy.upstream.http1.connection import Conversation, Observer
from gproxy.upstream.http1.idle import Idle
from gproxy.upstream.http1.pool import PlainPool, TLSPool

#: urllib3's: the system's authorities, the URL's host.
_DEFAULT_TLS: Final[Mapping[str, Any]] = MappingProxyType({})


class Backend:
    """Live: built whole, its counters change. `name` is host:port, for logs and /health, never for clients.

    One whose `url` has a name that is resolved gets an address, and perhaps others in reserve; the URL says the rest.
    It is built without one while none is known: then an attempt fails at once.
    """

    def __init__(
        self,
        url: BackendURL,
        *,
        keepalive: int,
        connect_timeout: float,
        max_age: float = 0.0,
        addresses: Sequence[str] = (),
        tls: Mapping[str, Any] = _DEFAULT_TLS,
    ) -> None:
        self.url = url
        self.name = f"{bracket(addresses[0])}:{url.port}" if addresses else url.place
        #: The name with its scheme.
        self.label = self.name if url.path else f"{url.scheme}://{self.name}"
        #: What `host = backend` sends.
        self.authority = url.authority
        self.weight = url.weight
        self.max_connections = url.max_connections or 0
        self.is_backup = bool(url.backup)
        self.is_down = bool(url.down)
        #: Takes no new clients.
        self.is_draining = bool(url.drain)
        self.endpoint = Endpoint(addresses or url.addresses, url.port, path=url.path)
        self.pool = self._pool(tls if url.scheme == "https" else {}, keepalive, connect_timeout)
        self._idle: Idle = self.pool.pool  # type: ignore[assignment]
        self._idle.max_age = max_age or math.inf
        self._connect_timeout = connect_timeout
        #: Told how long each exchange takes.
        self.observer: Observer | None = None
        #: Told whenever `active` changes.
        self.load_observer: Callable[[Backend], None] | None = None
        self._active = 0
        #: What the balance policy remembers of it.
        self.memo: object = None
        #: Attempts since the start, those that failed, and how often it was left out for that.
        self.attempts = 0
        self.failures = 0
        self.times_ejected = 0
        #: What probes and requests say of it.
        self.health = Health()
        #: What the upstream found last; None if it was never healthy yet.
        self.was_healthy: bool | None = None
        #: When it became healthy again after it had not been, on the monotonic clock.
        self.returned_at = -math.inf

    @property
    def active(self) -> int:
        """Attempts under way."""
        return self._active

    @active.setter
    def active(self, active: int) -> None:
        self._active = active
        if self.load_observer is not None:
            self.load_observer(self)

    def observe_with(self, observer: Observer) -> None:
        """Tell this one too how long each exchange takes."""
        first = self.observer
        self.observer = observer if first is None else _both(first, observer)

    def _pool(self, tls: Mapping[str, Any], keepalive: int, connect_timeout: float) -> PlainPool | TLSPool:
        pool = TLSPool if self.url.scheme == "https" else PlainPool
        return pool(
            self.url.host, self.url.port, maxsize=keepalive, timeout=connect_timeout, retries=False,
            endpoint=self.endpoint, **tls,
        )

    @property
    def is_healthy(self) -> bool:
        """Probes and failures fine."""
        return self.health.is_good and not self.is_down

    @property
    def takes_part(self) -> bool:
        """May get requests of new clients: if it is healthy, or if nobody is."""
        return self.weight > 0 and not (self.is_down or self.is_draining or self.health.is_barred)

    @property
    def is_full(self) -> bool:
        """At its limit of attempts under way."""
        return 0 < self.max_connections <= self.active

    def connection(self, deadline: Deadline) -> Conversation:
        """A lease on a connection that is open. Raises what urllib3 raises when it cannot connect."""
        self.active += 1
        self.attempts += 1
        idle = self._idle.take()
        if idle is not None:
            return idle
        try:
            return self.dial(min(self._connect_timeout, deadline.remaining()))
        except BaseException:
            self.active -= 1
            raise

    def dial(self, timeout: float) -> Conversation:
        """A new connection, which is nobody's lease. Raises what urllib3 raises when it cannot connect."""
        connection: Any = self.pool._new_conn()
        try:
            connection.timeout = timeout
            connection.connect()
            conversation: Conversation = connection.converse(self.observer)
        except BaseException:
            connection.close()
            raise
        return conversation

    def release(self, connection: Conversation, rest: Reader | None = None, *, keep: bool) -> None:
        """The response was read: keep the connection if the backend wants that and it can be used again."""
        if keep and connection.is_reusable(rest):
            self.active -= 1
            self._idle.keep(connection)
        else:
            self.drop(connection)

    def forget_idle(self) -> None:
        """One pooled connection was found dead: the others are as old, so the next attempt makes a new one."""
        self._idle.clear()

    def drop(self, connection: Conversation) -> None:
        """Something went wrong in the middle: nobody knows what the connection would say next."""
        self.active -= 1
        connection.close()

    def trim(self, idle_timeout: float) -> None:
        """Close what idles for too long; to be called once a second."""
        self._idle.trim(monotonic(), idle_timeout)

    def retire(self) -> None:
        """It takes no more part: what runs finishes, and its connections are closed."""
        self._idle.retire()

    def close(self) -> None:
        self.pool.close()

    @property
    def _state(self) -> str:
        if self.is_down:
            return "down"
        state = self.health.state
        return "draining" if self.is_draining and state == "healthy" else state

    def snapshot(self, now: float) -> dict[str, Any]:
        """Its state for /health."""
        health = self.health
        facts: dict[str, Any] = {
            "backend": self.label,
            "state": self._state,
            "active": self.active,
            "attempts": self.attempts,
            "failures": self.failures,
        }
        if self.url.is_name:
            facts["name"] = self.url.host
        if facts["state"] in ("unhealthy", "trial"):
            facts["why"] = health.why
            if health.next_try:
                facts["next_try_in"] = round(max(0.0, health.next_try - now), 1)
        return facts

    def __repr__(self) -> str:
        return f"<Backend {self.name} active={self.active} {self.health.state} {self.health.why}>"


def _both(first: Observer, second: Observer) -> Observer:
    def observe(seconds: float, answered: bool) -> None:
        first(seconds, answered)
        second(seconds, answered)

    return observe


def show(upstream: str, backend: Backend, metrics: Metrics) -> None:
    """Have the metrics follow the backend's own counts."""
    labels = (upstream, backend.name)
    metrics.watch("gproxy_backend_attempts_total", labels, lambda: backend.attempts)
    metrics.watch("gproxy_backend_failures_total", labels, lambda: backend.failures)
    metrics.watch("gproxy_backend_ejections_total", labels, lambda: backend.times_ejected)
    metrics.watch("gproxy_backend_active", labels, lambda: backend.active)
    metrics.watch("gproxy_backend_healthy", labels, lambda: backend.is_healthy)


def measure(upstream: str, backend: Backend, metrics: Metrics) -> None:
    """Have every exchange with the backend timed; only for whoever wants to read metrics, for it costs 0.3 us each."""
    durations = metrics.series("gproxy_backend_duration_seconds", upstream)
    backend.observe_with(lambda seconds, _: durations.observe(seconds))
