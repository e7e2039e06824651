"""A backend: one address of an upstream, with its connections, load, health and metrics."""

import math
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, cast

from gproxy.config.types import BackendURL
from gproxy.config.types.addresses import bracket
from gproxy.http.framing import Reader
from gproxy.http.request import Request
from gproxy.upstream.connection import BackendConnection, Observer
from gproxy.upstream.health.state import BackendHealth
from gproxy.upstream.http1.connection import HTTP1Connection
from gproxy.upstream.http1.dial_queue import DialQueue
from gproxy.upstream.http1.idle import Idle
from gproxy.upstream.http1.pool import Connections
from gproxy.upstream.override import BackendOverride


class Backend:
    """A backend and its state. `name` is host:port, for logs and /health, never for clients.

    `connections` are used by this backend only. `addresses` are the resolved addresses of a URL whose host is a name:
    one, perhaps with a reserve. Before the first look-up they are empty, and an attempt fails at once. The URL's
    `max_connections` takes precedence.
    """

    def __init__(
        self,
        url: BackendURL,
        connections: Connections,
        *,
        connect_timeout: float,
        max_connections: int = 0,
        health: BackendHealth | None = None,
        addresses: Sequence[str] = (),
    ) -> None:
        self.url = url
        self.name = f"{bracket(addresses[0])}:{url.port}" if addresses else url.place
        #: The name with the URL's scheme.
        self.label = self.name if url.path else f"{url.scheme}://{self.name}"
        #: The Host field of `host = backend`.
        self.authority = url.authority
        #: The change by an operator; None without one.
        self.overridden: BackendOverride | None = None
        self.weight = url.weight
        self.max_connections = url.max_connections or max_connections
        self.is_backup = bool(url.backup)
        self.is_down = bool(url.down)
        #: True if the backend gets no new clients.
        self.is_draining = bool(url.drain)
        self.connections = connections
        self.endpoint = connections.endpoint
        self._idle: Idle = connections.idle  # PERF: of this class, whatever the connections are
        self._dials = DialQueue(self._idle)
        self._shared = connections.shared
        self._connect_timeout = connect_timeout
        #: A function that is called with the duration of each exchange.
        self.observer: Observer | None = None
        self._observe_connect: Callable[[float], None] | None = None
        #: A function that is called when `active` changes.
        self.load_observer: Callable[[Backend], None] | None = None
        self._active = 0
        #: Data of the balancing policy.
        self.memo: object = None
        #: The numbers of attempts, of failures and of ejections since the start.
        self.attempts = 0
        self.failures = 0
        self.times_ejected = 0
        #: The health state, from probes and requests.
        self.health = health or BackendHealth()
        #: The result of the last `note_health`; None before the backend was healthy.
        self._was_healthy: bool | None = None
        #: When the backend last became healthy again, on the monotonic clock.
        self.returned_at = -math.inf

    @property
    def active(self) -> int:
        """The number of active attempts."""
        return self._active

    @active.setter
    def active(self, active: int) -> None:
        self._active = active
        if self.load_observer is not None:
            self.load_observer(self)

    @property
    def idle(self) -> int:
        """The number of idle connections."""
        return len(self._idle) + (0 if self._shared is None else len(self._shared))

    def observe_connects_with(self, observe: Callable[[float], None]) -> None:
        """Have a function take the seconds of each attempt to connect."""
        self._observe_connect = observe
        if self._shared is not None:
            self._shared.observe_connect = observe

    def observe_with(self, observer: Observer) -> None:
        """Add an observer of the duration of each exchange."""
        first = self.observer
        self.observer = observer if first is None else _both(first, observer)

    @property
    def is_healthy(self) -> bool:
        """True if probes pass and the backend is neither ejected nor down."""
        return self.health.is_good and not self.is_down

    @property
    def is_eligible(self) -> bool:
        """True if the backend may get requests of new clients, at least as a last resort."""
        return self.weight > 0 and not (self.is_down or self.is_draining or self.health.needs_probe)

    @property
    def is_full(self) -> bool:
        """True if the backend has reached its limit of active attempts."""
        return 0 < self.max_connections <= self.active

    def override(self, override: BackendOverride | None) -> None:
        """Change state and weight as an operator wants; None: as the file says. The rotation must refresh after it."""
        state, weight = (override.state, override.weight) if override is not None else (None, None)
        self.is_down = bool(self.url.down) if state is None else state == "down"
        self.is_draining = bool(self.url.drain) if state is None else state == "drain"
        self.weight = self.url.weight if weight is None else weight
        self.overridden = override

    def note_health(self, now: float) -> None:
        """Note when the backend becomes healthy again; not at the start, and not while half-open."""
        if self.is_healthy and not self.health.is_half_open:
            if self._was_healthy is False:
                self.returned_at = now
            self._was_healthy = True
        elif self._was_healthy:
            self._was_healthy = False

    def start_slowly(self) -> None:
        """Make a slow start of the backend's first use, as if it returned: it was added to a serving upstream."""
        self._was_healthy = False

    def connection(self, request: Request) -> BackendConnection:
        """Lease an open connection for a request: an idle one, a stream of a shared one, or a new one.

        Raise urllib3's exceptions if connecting fails, and ClientGone if the client leaves before a stream is free.
        """
        self.active += 1
        self.attempts += 1
        idle = self._idle.take()
        if idle is not None:
            return idle
        try:
            shared = self._shared
            if shared is not None and (stream := shared.lease(self.name, self.observer, request)) is not None:
                return stream
            while not self._dials.may_dial(self._active - len(self._dials) - 1):
                self._dials.wait()
                idle = self._idle.take()
                if idle is not None:
                    return idle
            return self.dial(min(self._connect_timeout, request.deadline.remaining()))
        except BaseException:
            self.active -= 1
            raise

    def dial(self, timeout: float) -> BackendConnection:
        """Open a connection without a lease. Raise urllib3's exceptions if connecting fails."""
        if self._observe_connect is None:
            return self.connections.dial(timeout, self.name, self.observer)
        began = monotonic()
        try:
            return self.connections.dial(timeout, self.name, self.observer)
        finally:
            self._observe_connect(monotonic() - began)

    def release(self, connection: BackendConnection, rest: Reader | None = None, *, keep: bool) -> None:
        """End a lease after the response; return the connection to the pool if `keep` and it is reusable."""
        if keep and connection.is_reusable(rest):
            self.active -= 1
            self._idle.keep(cast(HTTP1Connection, connection))  # a stream has one exchange, and is not kept
        else:
            self.drop(connection)

    def drop(self, connection: BackendConnection) -> None:
        """End a lease and close its connection, after a failure or an incomplete exchange."""
        self.active -= 1
        if connection.is_stale:
            self._idle.note_stale(cast(HTTP1Connection, connection))
        connection.close()

    def trim(self, idle_timeout: float) -> None:
        """Close the ended, surplus and outdated idle connections; to be called once a second."""
        self._idle.trim(self._idle.clock(), idle_timeout)
        if self._shared is not None:
            self._shared.trim(idle_timeout)

    def retire(self) -> None:
        """Retire a removed backend: active exchanges finish, and all its connections are closed."""
        self._idle.retire()
        if self._shared is not None:
            self._shared.retire()

    def close(self) -> None:
        self.connections.close()

    @property
    def _state(self) -> str:
        if self.is_down:
            return "down"
        state = self.health.state
        return "draining" if self.is_draining and state == "healthy" else state

    def snapshot(self, now: float) -> dict[str, Any]:
        """Return the backend's state for /health."""
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
        if self.overridden is not None:
            facts["override"] = self.overridden.describe()
        if facts["state"] in ("unhealthy", "trial"):
            facts["why"] = health.why
            if health.next_try:
                facts["next_try_in"] = round(max(0.0, health.next_try - now), 1)
        return facts

    def __repr__(self) -> str:
        why = f" ({self.health.why})" if self.health.why else ""
        return f"<Backend {self.name} {self._state}{why}, {self.active} active>"


def _both(first: Observer, second: Observer) -> Observer:
    def observe(seconds: float, answered: bool) -> None:
        first(seconds, answered)
        second(seconds, answered)

    return observe
