"""Connections of the gateway's own requests: names are looked up without blocking threads for long."""

import io
import socket
from http.client import HTTPResponse
from typing import Any, ClassVar, Final

import gevent
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from gproxy.identity.outgoing.urls import is_internal
from gproxy.runtime.names import Names

#: Bound of an answer as it comes, in bytes: with heads, interim responses and trailers, which nothing else bounds.
_LONGEST: Final = 2 * 1024 * 1024
#: After so many reads of an answer, each further one waits for a turn of the event loop, for so many seconds at most:
#: gevent runs 50 greenlets that only yield before it looks at sockets and timers; a read of tiny chunks takes 10 ms.
_PLAIN_READS: Final = 2
_TURN: Final = 0.001
#: The names of issuers; at most so many wait for a dead name server at once.
_names: Final = Names(16)


class _Metered(io.RawIOBase):
    """The stream of a response, of at most `_LONGEST` bytes, which lets other greenlets run before each read.

    A fast peer always has more to read, so a reader that seeks an end would stop the worker and miss its time limit.
    """

    def __init__(self, stream: io.RawIOBase) -> None:
        super().__init__()
        self._stream = stream
        self._left = _LONGEST
        self._reads = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any, /) -> int | None:  # noqa: ANN401 any writable buffer
        """Read into the buffer, and return the number of bytes. Raises OSError for too many bytes."""
        self._reads += 1
        gevent.sleep(0 if self._reads <= _PLAIN_READS else _TURN)
        count = self._stream.readinto(buffer)
        self._left -= count or 0
        if self._left < 0:
            raise OSError(f"the answer exceeds {_LONGEST} bytes")
        return count

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()
        super().close()


class _Response(HTTPResponse):
    """A response with a metered stream."""

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 those of the base class
        super().__init__(sock, *arguments, **options)
        stream: Any = self.fp
        self.fp = io.BufferedReader(_Metered(stream.detach()))


class _Resolving:
    """A mixin for urllib3's connections that looks the name up here, and tries all its addresses."""

    public: ClassVar[bool] = False
    response_class: ClassVar[type] = _Response

    def _new_conn(self) -> socket.socket:
        """Return a connected socket. Raises urllib3's exceptions."""
        connection: Any = self
        host: str = connection.host
        try:
            addresses = _names.addresses(host)
        except OSError as error:
            raise NameResolutionError(host, connection, error) from error  # type: ignore[arg-type]
        if self.public and connection.proxy is None:
            addresses = [address for address in addresses if not is_internal(address)]
            if not addresses:
                raise NewConnectionError(connection, f"{host} has only internal addresses, unlike its issuer's host")
        return _connect(connection, addresses)


def _connect(connection: Any, addresses: list[str]) -> socket.socket:  # noqa: ANN401 urllib3's connection, of two classes
    failed: OSError = socket.gaierror(socket.EAI_NONAME, "the name has no address")
    for address in addresses:
        try:
            sock = socket.create_connection((address, connection.port), connection.timeout)
        except OSError as error:
            failed = error
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    if isinstance(failed, TimeoutError):
        raise ConnectTimeoutError(connection, f"{connection.host} did not accept a connection in time") from failed
    raise NewConnectionError(
        connection, f"cannot connect to {connection.host}: {failed.strerror or failed}"
    ) from failed


class _Connection(_Resolving, HTTPConnection):
    """A connection to http://, or to a proxy."""


class _TLSConnection(_Resolving, HTTPSConnection):
    """A connection to https://."""


class _PublicConnection(_Connection):
    """A connection to http:// on a public address."""

    public = True


class _PublicTLSConnection(_TLSConnection):
    """A connection to https:// on a public address."""

    public = True


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


class _PublicPool(HTTPConnectionPool):
    ConnectionCls = _PublicConnection


class _PublicTLSPool(HTTPSConnectionPool):
    ConnectionCls = _PublicTLSConnection


#: urllib3's pools by the scheme of a URL.
POOLS: Final[dict[str, type]] = {"http": _Pool, "https": _TLSPool}
#: The same for hosts that must have public addresses.
PUBLIC_POOLS: Final[dict[str, type]] = {"http": _PublicPool, "https": _PublicTLSPool}
