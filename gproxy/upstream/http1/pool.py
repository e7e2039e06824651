"""The connection pools of a backend: urllib3's pools and certificate checks, over the gateway's sockets."""

import socket
from typing import Any

import gevent
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from gproxy.upstream.http1.channel import BackendChannel
from gproxy.upstream.http1.connect import Endpoint
from gproxy.upstream.http1.connection import HTTP1Connection, Observer
from gproxy.upstream.http1.idle import Idle
from gproxy.upstream.http1.tls import TLSBackendChannel, TLSConnection
from gproxy.upstream.http1.tls_session import as_tls_error


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

    def http1(self, name: str, observe: Observer | None) -> HTTP1Connection:
        """Return the HTTP/1 connection to the backend of this name; to be called once, after `connect`."""
        return HTTP1Connection(self, BackendChannel(self.sock), name, observe)


class UrllibTLSConnection(_EndpointConnection, HTTPSConnection):
    """A urllib3 connection to an https:// backend; urllib3 verifies the certificate."""

    def http1(self, name: str, observe: Observer | None) -> HTTP1Connection:
        """Return the HTTP/1 connection to the backend of this name; to be called once, after `connect`."""
        return TLSConnection(self, TLSBackendChannel(self.sock), name, observe)

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
