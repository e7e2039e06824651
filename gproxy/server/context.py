"""What a connection needs of its listener: settings, gateway, timers, and its place among the other connections."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from gproxy.config.sections.server import ServerSettings
from gproxy.gateway.gateway import Gateway
from gproxy.http.request import Request
from gproxy.http.request_fields import RequestFieldsCache
from gproxy.http.trust import network_of
from gproxy.runtime import Runtime
from gproxy.runtime.alarm import TimerWheel

#: How many rejected connections stay open at a time so that their clients can read why; more are closed at once.
_LINGERING: Final = 100


class OpenConnection(Protocol):
    """A client connection, as draining and the limits see it."""

    peer: str
    request: Request | None

    @property
    def is_tunnel(self) -> bool: ...
    def linger(self, seconds: float, /) -> None: ...
    def cut(self) -> None: ...


class Connections:
    """The open connections of one listener, with their limits (0: no limit)."""

    def __init__(self, most: int, most_per_address: int) -> None:
        self._most = most
        self._most_per_address = most_per_address
        self._open: set[OpenConnection] = set()
        #: Admitted ones by address, of IPv6 by /64: only these count against the limits.
        self._by_address: Counter[str] = Counter()
        self._rejected: set[OpenConnection] = set()

    def __iter__(self) -> Iterator[OpenConnection]:
        return iter(list(self._open))

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: OpenConnection) -> None:
        """Take note of a connection whose peer is not known yet, so that a stop knows of it."""
        self._open.add(connection)

    def admit(self, connection: OpenConnection) -> str:
        """Count the connection, or return why it is one too many; a rejected one takes no place while it closes."""
        self._open.add(connection)
        if self._most_per_address and self._by_address[network_of(connection.peer)] >= self._most_per_address:
            why = "too many connections from your address"
        elif 0 < self._most < len(self._open) - len(self._rejected):
            why = "too many connections"
        else:
            if self._most_per_address:
                self._by_address[network_of(connection.peer)] += 1
            return ""
        self._rejected.add(connection)
        return why

    @property
    def may_linger(self) -> bool:
        """May one more rejected connection stay open until its client has read why?"""
        return len(self._rejected) <= _LINGERING

    def discard(self, connection: OpenConnection) -> None:
        """Forget a connection that was never admitted."""
        self._open.discard(connection)

    def forget(self, connection: OpenConnection) -> None:
        """Drop an ended connection from the counts."""
        self._open.discard(connection)
        if connection in self._rejected:
            self._rejected.remove(connection)
        elif self._most_per_address:
            network = network_of(connection.peer)
            self._by_address[network] -= 1
            if not self._by_address[network]:
                del self._by_address[network]


@dataclass
class ServerContext:
    """What the connections of one listener share."""

    settings: ServerSettings
    gateway: Gateway
    runtime: Runtime
    wheel: TimerWheel
    fields: RequestFieldsCache
    connections: Connections

    @classmethod
    def of(cls, settings: ServerSettings, gateway: Gateway, runtime: Runtime) -> "ServerContext":
        """Make the context of one more listener."""
        return cls(
            settings,
            gateway,
            runtime,
            TimerWheel(),
            RequestFieldsCache(gateway.trust, max_fields=settings.max_fields, max_body=settings.max_body),
            Connections(settings.max_connections, settings.max_connections_per_address),
        )
