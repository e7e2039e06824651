"""The connections to a backend: urllib3's pools and certificate checks, over the gateway's sockets."""

import math
import socket
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Protocol

import gevent
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from gproxy.config.types import BackendURL
from gproxy.http.request import Request
from gproxy.upstream.connection import BackendConnection, Observer
from gproxy.upstream.http1.channel import BackendChannel
from gproxy.upstream.http1.connect import Endpoint
from gproxy.upstream.http1.connection import HTTP1Connection
from gproxy.upstream.http1.idle import Idle
from gproxy.upstream.http1.tls import TLSBackendChannel, TLSConnection
from gproxy.upstream.http1.tls_session import as_tls_error

#: urllib3's defaults: the system's certificate authorities, and the URL's host name.
_DEFAULT_TLS: Final[Mapping[str, Any]] = MappingProxyType({})


class _EndpointConnection:
    """A mixin for urllib3's connections that connects to an Endpoint; it raises urllib3's exceptions, and TLSError."""

    def __init__(self, *arguments: object, endpoint: Endpoint, **options: object) -> None:
        super().__init__(*arguments, **options)
        self._endpoint = endpoint

    def _new_conn(self) -> socket.socket:
        """Return a connected socket. urllib3's method would resolve names here, and try addresses one by one."""
        timeout: float = self.timeout  # type: ignore[attr-defined]
        host: str = self.host  # type: ignore[attr-defined]
        connection: Any = self
        try:
            sock: socket.socket = self._endpoint.connect(timeout)
        except TimeoutError:
            raise ConnectTimeoutError(connection, f"Connection to {host} timed out after {timeout:g} s") from None
        except socket.gaierror as error:
            raise NameResolutionError(host, connection, error) from None
        except OSError as error:
            raise NewConnectionError(connection, f"Failed to establish a new connection: {error}") from error
        return sock


class UrllibConnection(_EndpointConnection, HTTPConnection):
    """A urllib3 connection to an http:// backend."""

    #: The protocol that the backend has chosen by ALPN; empty without a choice.
    protocol = ""

    def channel(self) -> BackendChannel:
        """Return the channel of the open connection; to be called once."""
        return BackendChannel(self.sock)

    def http1(self, name: str, observe: Observer | None) -> HTTP1Connection:
        """Return the HTTP/1 connection to the backend of this name; to be called once, after `connect`."""
        return HTTP1Connection(self, self.channel(), name, observe)


class UrllibTLSConnection(_EndpointConnection, HTTPSConnection):
    """A urllib3 connection to an https:// backend; urllib3 verifies the certificate."""

    @property
    def protocol(self) -> str:
        """The protocol that the backend has chosen by ALPN; empty without a choice."""
        sock: Any = self.sock
        return sock.selected_alpn_protocol() or ""

    def channel(self) -> BackendChannel:
        """Return the channel of the open connection; to be called once."""
        return TLSBackendChannel(self.sock)

    def http1(self, name: str, observe: Observer | None) -> HTTP1Connection:
        """Return the HTTP/1 connection to the backend of this name; to be called once, after `connect`."""
        return TLSConnection(self, self.channel(), name, observe)

    def connect(self) -> None:
        timeout: Any = self.timeout
        try:
            with gevent.Timeout(timeout, TimeoutError(f"TLS handshake timed out after {timeout:g} s")):
                super().connect()
        except TimeoutError:
            raise
        except OSError as error:  # of the handshake: urllib3's exceptions for connecting are no OSError
            raise as_tls_error(error) from None


class PlainPool(HTTPConnectionPool):
    """The connection pool of one http:// backend."""

    ConnectionCls = UrllibConnection
    QueueCls = Idle  # type: ignore[assignment]


class TLSPool(HTTPSConnectionPool):
    """The connection pool of one https:// backend."""

    ConnectionCls = UrllibTLSConnection
    QueueCls = Idle  # type: ignore[assignment]


class SharedConnections(Protocol):
    """The connections to one backend that carry many requests at a time, each on a stream of its own."""

    #: A function that takes the seconds of each attempt to connect; None unless they are measured.
    observe_connect: Callable[[float], None] | None

    def __len__(self) -> int:
        """Return the number of connections without a request."""

    def lease(self, name: str, observe: Observer | None, request: Request) -> BackendConnection | None:
        """Return a stream for one request to the backend of this name; None if that needs a connection of its own.

        The alarm of the greenlet bounds the wait for a free stream. Raises urllib3's exceptions, TLSError,
        NotHTTP2Error, RefusedStreamError, NoUpgradeError, and ClientGone if the client leaves meanwhile.
        """

    def trim(self, idle_timeout: float) -> None:
        """Close the ended and outdated connections without a request; to be called once a second."""

    def retire(self) -> None:
        """Let the requests finish, and close the connections."""


class Connections(Protocol):
    """The connections to one backend, as the backend uses them."""

    #: The addresses of the backend.
    endpoint: Endpoint
    #: The connections without a request that carry one at a time.
    idle: Idle
    #: The connections that carry many; None if each request has a connection of its own.
    shared: SharedConnections | None

    def dial(self, timeout: float, name: str, observe: Observer | None) -> BackendConnection:
        """Open a connection to the backend of this name. Raises urllib3's exceptions, and TLSError."""

    def close(self) -> None:
        """Close the idle connections."""


class MakeConnections(Protocol):
    """A function that makes the connections to the backend of a URL; see `IdleConnections`."""

    def __call__(
        self,
        url: BackendURL,
        *,
        keepalive: int,
        connect_timeout: float,
        max_age: float = 0.0,
        addresses: Sequence[str] = (),
        tls: Mapping[str, Any] = _DEFAULT_TLS,
    ) -> Connections: ...


class IdleConnections:
    """The connections over sockets to one backend: at most `keepalive` idle ones stay, for at most `max_age` seconds.

    `addresses` are the resolved addresses of a URL whose host is a name. `tls` has arguments of urllib3.
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
        self.endpoint = Endpoint(addresses or url.addresses, url.port, path=url.path)
        is_tls = url.scheme == "https"
        self.pool: PlainPool | TLSPool = (TLSPool if is_tls else PlainPool)(
            url.host,
            url.port,
            maxsize=keepalive,
            timeout=connect_timeout,
            retries=False,
            endpoint=self.endpoint,
            **(tls if is_tls else {}),
        )
        self.idle: Idle = self.pool.pool  # type: ignore[assignment]
        self.idle.max_age = max_age or math.inf
        self.shared: SharedConnections | None = None

    def dial(self, timeout: float, name: str, observe: Observer | None) -> HTTP1Connection:
        """Open a connection to the backend of this name. Raises urllib3's exceptions, and TLSError."""
        http1: HTTP1Connection = self.connect(timeout).http1(name, observe)
        return http1

    def connect(self, timeout: float) -> Any:  # noqa: ANN401 urllib3's connections have no types
        """Return an open connection of urllib3, of one of the classes above. Raises as `dial`."""
        connection: Any = self.pool._new_conn()  # noqa: SLF001 urllib3's public way would read the response too
        try:
            connection.timeout = timeout
            connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Close the idle connections."""
        self.idle.clear()
        self.pool.close()
