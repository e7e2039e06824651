"""The context that a listener gives its connections: settings, gateway, timers and the set of connections."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from greenlet import greenlet

from gproxy.config.sections.server import ServerSettings
from gproxy.gateway.gateway import Gateway
from gproxy.http.errors import HTTPError
from gproxy.http.request import Request
from gproxy.http.request_fields_cache import RequestFieldsCache
from gproxy.http.time_limit import TimeLimit
from gproxy.http.trust import network_of
from gproxy.runtime import Runtime
from gproxy.runtime.alarm import Alarm, TimerWheel
from gproxy.server.client_channel import ChannelSettings

#: Number of rejected connections that close slowly, so that their clients can read why; others close at once.
_CLOSING_SLOWLY: Final = 100


class ActiveRequest(Protocol):
    """The server of one request: an HTTP/1 connection, or a stream of a connection with many."""

    @property
    def alarm(self) -> Alarm: ...
    @property
    def request(self) -> Request | None: ...
    @property
    def sent(self) -> int: ...
    def cut(self, limit: TimeLimit, /) -> None: ...


class OpenConnection(Protocol):
    """A client connection, as Drain and Connections use it."""

    peer: str
    alarm: Alarm

    @property
    def request(self) -> Request | None:
        """The request that the connection's own greenlet serves."""

    @property
    def active_requests(self) -> Sequence[ActiveRequest]:
        """The servers of the requests in progress."""

    @property
    def is_tunnel(self) -> bool: ...
    def close_if_idle(self, seconds: float, /) -> None: ...
    def cut(self, limit: TimeLimit, /) -> None: ...


class Multiplexed(Protocol):
    """A protocol with many requests on one connection, to which that connection hands itself over."""

    @property
    def active_requests(self) -> Sequence[ActiveRequest]:
        """The streams with a request in progress: a new list, since other threads look at it too."""

    @property
    def is_tunnel(self) -> bool:
        """True if there are requests in progress, and all are tunnels."""

    def run(self) -> None:
        """Serve the connection to its end, beginning with the bytes in the channel's buffer.

        Raise ClientGone, OSError and Expired; the connection closes itself afterwards.
        """

    def refuse(self, error: HTTPError, /) -> None:
        """Tell the client, in place of `run`, that the connection serves no request; record why."""

    def linger(self, seconds: float, /) -> None:
        """Let the client send requests for at most so many seconds; then end with the last one."""

    def cut(self, limit: TimeLimit, /) -> None:
        """End the connection with all its requests."""


#: Makes the Multiplexed of a ClientConnection, whose file imports this one.
MakeMultiplexed = Callable[[Any], Multiplexed]
#: The key of HTTP/2 by prior knowledge in `ServerContext.protocols` (RFC 9113 section 3.3).
H2C: Final = "h2c"
#: The protocols of a listener with HTTP/1 only.
NO_PROTOCOLS: Final[Mapping[str, MakeMultiplexed]] = {}


class Connections:
    """The open connections of one listener, with their limits (0: no limit)."""

    def __init__(self, limit: int, limit_per_address: int) -> None:
        self._limit = limit
        self._limit_per_address = limit_per_address
        #: The open connections by the greenlets that serve them.
        self._open: dict[greenlet, OpenConnection] = {}
        #: Admitted connections by address, IPv6 by /64: only these count against the limits.
        self._by_address: Counter[str] = Counter()
        self._rejected: set[OpenConnection] = set()

    def __iter__(self) -> Iterator[OpenConnection]:
        return iter(list(self._open.values()))

    def __len__(self) -> int:
        return len(self._open)

    def served_by(self, one: greenlet) -> OpenConnection | None:
        """Return the connection that the greenlet serves."""
        return self._open.get(one)

    def add(self, connection: OpenConnection) -> None:
        """Add a connection whose client address is not known yet, so that a drain includes it."""
        self._open[connection.alarm.greenlet] = connection

    def admit(self, connection: OpenConnection) -> str:
        """Count the connection and return "", or return why it exceeds a limit; rejected ones do not count."""
        self._open[connection.alarm.greenlet] = connection
        if self._limit_per_address and self._by_address[network_of(connection.peer)] >= self._limit_per_address:
            why = "too many connections from your address"
        elif 0 < self._limit < len(self._open) - len(self._rejected):
            why = "too many connections"
        else:
            if self._limit_per_address:
                self._by_address[network_of(connection.peer)] += 1
            return ""
        self._rejected.add(connection)
        return why

    @property
    def may_close_slowly(self) -> bool:
        """True if one more rejected connection may close slowly, so that its client can read why."""
        return len(self._rejected) <= _CLOSING_SLOWLY

    def discard(self, connection: OpenConnection) -> None:
        """Remove a connection that was never admitted."""
        self._open.pop(connection.alarm.greenlet, None)

    def forget(self, connection: OpenConnection) -> None:
        """Remove an ended connection from the counts."""
        self._open.pop(connection.alarm.greenlet, None)
        if connection in self._rejected:
            self._rejected.remove(connection)
        elif self._limit_per_address:
            network = network_of(connection.peer)
            self._by_address[network] -= 1
            if not self._by_address[network]:
                del self._by_address[network]


@dataclass
class ServerContext:
    """The objects that the connections of one listener share.

    `protocols` has what makes a Multiplexed, by ALPN name, or by H2C on an address without TLS.
    """

    settings: ServerSettings
    gateway: Gateway
    runtime: Runtime
    wheel: TimerWheel
    channels: ChannelSettings
    fields: RequestFieldsCache
    connections: Connections
    protocols: Mapping[str, MakeMultiplexed]

    @classmethod
    def of(
        cls,
        settings: ServerSettings,
        gateway: Gateway,
        runtime: Runtime,
        protocols: Mapping[str, MakeMultiplexed] = NO_PROTOCOLS,
    ) -> "ServerContext":
        """Return the context of a new listener."""
        return cls(
            settings,
            gateway,
            runtime,
            TimerWheel(),
            ChannelSettings(
                body_timeout=settings.body_timeout,
                write_timeout=settings.write_timeout,
                min_rate=settings.min_rate,
                id_key=gateway.trust.id_key,
                buffers=runtime.buffers,
            ),
            RequestFieldsCache(gateway.trust, max_fields=settings.max_fields, max_body=settings.max_body),
            Connections(settings.max_connections, settings.max_connections_per_address),
            protocols,
        )
