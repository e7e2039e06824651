"""The way to a backend: urllib3 makes connections and verifies them, over sockets of ours."""

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


class _Dialling:
    """What our connections do in another way than urllib3's. Connecting raises urllib3's exceptions, and TLSError."""

    def __init__(self, *arguments: Any, endpoint: Endpoint, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._endpoint = endpoint

    def _new_conn(self) -> Any:
        """A socket, in place of urllib3's, which would resolve names here, and try addresses one by one."""
        timeout: float = self.timeout  # type: ignore[attr-defined]
        host: str = self.host  # type: ignore[attr-defined]
        connection: Any = self
        try:
            return self._endpoint.connect(timeout)
        except TimeoutError:
            raise ConnectTimeoutError(connection, f"Connection to {host} timed out after {timeout:g} s") from None
        except socket.gaierror as error:
            raise NameResolutionError(host, connection, error) from None
        except OSError as error:
            raise NewConnectionError(connection, f"Failed to establish a new connection: {error}") from error


class UrllibConnection(_Dialling, HTTPConnection):
    """To an http:// backend."""

    def converse(self, observe: Observer | None) -> HTTP1Connection:
        """To be called once, when it is connected."""
        return HTTP1Connection(self, BackendChannel(self.sock), observe)


class UrllibTLSConnection(_Dialling, HTTPSConnection):
    """To an https:// backend; urllib3 verifies its certificate."""

    def converse(self, observe: Observer | None) -> HTTP1Connection:
        """To be called once, when it is connected."""
        return TLSConnection(self, TLSBackendChannel(self.sock), observe)

    def connect(self) -> None:
        timeout: Any = self.timeout
        try:
            with gevent.Timeout(timeout, TimeoutError(f"no secure connection within {timeout:g} s")):
                super().connect()
        except TimeoutError:
            raise
        except OSError as error:  # those of the way to the backend are none
            raise as_tls_error(error) from None


class PlainPool(HTTPConnectionPool):
    """The connections to one http:// backend."""

    ConnectionCls = UrllibConnection
    QueueCls = Idle  # type: ignore[assignment]


class TLSPool(HTTPSConnectionPool):
    """The connections to one https:// backend."""

    ConnectionCls = UrllibTLSConnection
    QueueCls = Idle  # type: ignore[assignment]
