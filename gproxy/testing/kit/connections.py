"""The connections of the test kit: those of the gateway, over memory in place of a socket.

The gateway's own connection and channel run as ever, so each request is written and each response parsed. The channel
waits for a descriptor, which is that of an event and no socket.
"""

import errno
import math
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias, cast

from greenlet import getcurrent, greenlet

from gproxy.config.types import BackendURL
from gproxy.testing.answers import Reset
from gproxy.testing.kit.backend import KitBackend, RequestReader, Step
from gproxy.testing.kit.clock import Moment, VirtualClock
from gproxy.upstream.connection import Observer
from gproxy.upstream.http1.channel import BackendChannel
from gproxy.upstream.http1.connect import Endpoint
from gproxy.upstream.http1.connection import ConnectionState, HTTP1Connection
from gproxy.upstream.http1.idle import Idle
from gproxy.upstream.http1.pool import SharedConnections


class MemorySocket:
    """The gateway's end of a connection; what `find` returns answers each request. Set `channel` before a request."""

    def __init__(self, name: str, find: Callable[[], KitBackend], clock: VirtualClock) -> None:
        self._find = find
        self.backend = find()
        #: The name of the backend in logs.
        self.name = name
        self.channel: BackendChannel
        #: The connection over this socket, and the greenlet that has sent the last request.
        self.connection: HTTP1Connection | None = None
        self.sender: greenlet | None = None
        self._clock = clock
        self._requests = RequestReader()
        self._event = os.eventfd(0, os.EFD_NONBLOCK)
        self._is_signalled = False
        self._steps: Iterator[Step] = iter(())
        #: The bytes that can be received, and the end that follows them.
        self._data = b""
        self._is_reset = False
        self._pause: Moment | None = None

    def fileno(self) -> int:
        return self._event

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:  # noqa: ARG002 as socket.send
        if self._is_reset:
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        request = self._requests.feed(bytes(data))
        if request is not None:
            self.sender = getcurrent()
            self.backend = self._find()
            self._steps = self.backend.steps(request)
            self._go_on()
            self.channel.has_event = self._is_readable
        return len(data)

    def sendmsg(self, buffers: Iterable[bytes]) -> int:
        return self.send(b"".join(buffers))

    @property
    def _is_readable(self) -> bool:
        return bool(self._data) or self._is_reset

    def _go_on(self) -> None:
        """Take steps until something can be received, or the next pause begins."""
        while not self._is_readable and self._pause is None:
            step = next(self._steps, None)
            if step is None:
                return
            if isinstance(step, Reset):
                self._is_reset = True
            elif isinstance(step, bytes):
                self._data = step
            else:
                self._pause = self._clock.at(self._clock.now + step, self._resume)

    def _resume(self) -> None:
        """End a pause: the loop of the gateway notices what can be received now."""
        self._pause = None
        self._go_on()
        if self._is_readable and not self._is_signalled:
            self._is_signalled = True
            os.eventfd_write(self._event, 1)

    def recv(self, limit: int, flags: int = 0) -> bytes:
        if flags & socket.MSG_PEEK and self._is_readable:
            return self._data[:limit]
        if self._is_signalled:
            self._is_signalled = False
            os.eventfd_read(self._event)
        if not self._data and self._is_reset:
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        if not self._data:
            raise BlockingIOError
        data, self._data = self._data[:limit], self._data[limit:]
        self._go_on()
        self.channel.has_event = self._is_readable
        return data

    def setsockopt(self, *_: object) -> None:
        """Do nothing: no option matters here."""

    def shutdown(self, how: int) -> None:
        if how != socket.SHUT_WR:
            self._is_reset = True
            self.channel.has_event = True

    @property
    def is_leased(self) -> bool:
        """Return whether an exchange has the connection."""
        return self.connection is not None and self.connection.state is ConnectionState.ACTIVE

    def close(self) -> None:
        if self._pause is not None:
            self._clock.cancel(self._pause)
            self._pause = None
        self._steps = iter(())
        event, self._event = self._event, -1
        if event >= 0:
            os.close(event)


class KitConnections:
    """The connections to one backend, as `Backend` takes them; `find` returns who answers as this backend."""

    def __init__(
        self,
        url: BackendURL,
        *,
        clock: VirtualClock,
        find: Callable[[], KitBackend],
        keepalive: int,
        max_age: float,
        addresses: Sequence[str],
    ) -> None:
        self.endpoint = Endpoint(addresses or url.addresses, url.port, path=url.path)
        self.idle = Idle(keepalive)
        self.idle.clock = clock
        #: Each request has a connection of its own, whatever the settings say: memory is not shared.
        self.shared: SharedConnections | None = None
        self.idle.max_age = max_age or math.inf
        self._url, self._clock, self._find = url, clock, find
        self._sockets: list[MemorySocket] = []

    def dial(self, timeout: float, name: str, observe: Observer | None) -> HTTP1Connection:  # noqa: ARG002 takes no time
        """Open a connection. Raises what urllib3 raises if the backend cannot be reached."""
        self._find().accept(self._url)
        sock = MemorySocket(name, self._find, self._clock)
        sock.channel = BackendChannel(cast(socket.socket, sock))
        sock.connection = made = HTTP1Connection(sock, sock.channel, name, observe)
        made.born = self._clock.now
        self._sockets = [one for one in self._sockets if one.fileno() >= 0]
        self._sockets.append(sock)
        return made

    def leased(self) -> list[MemorySocket]:
        """Return the connections that an exchange has."""
        return [sock for sock in self._sockets if sock.is_leased]

    def close(self) -> None:
        """Close all connections."""
        self.idle.clear()
        for sock in self._sockets:
            if sock.connection is not None:
                with suppress(OSError):
                    sock.connection.close()


#: Makes the backend of a name, which reports what its answers raise.
MakeBackend: TypeAlias = Callable[[str, Callable[[BaseException], None]], KitBackend]


class KitNetwork:
    """The backends of a gateway by upstream and place, and the connections to them."""

    def __init__(self, clock: VirtualClock, report: Callable[[BaseException], None], make_backend: MakeBackend) -> None:
        self._clock, self._report, self._make_backend = clock, report, make_backend
        #: By the name of the upstream, or UPSTREAM@HOST:PORT.
        self.backends: dict[str, KitBackend] = {}
        self.connections: list[KitConnections] = []
        #: By the identity of the URL: two upstreams may have equal ones.
        self._upstreams: dict[int, str] = {}
        self._addresses: dict[str, str] = {}

    def name(self, upstream: str, urls: Iterable[BackendURL]) -> None:
        """Note which backends an upstream has."""
        for url in urls:
            self._upstreams[id(url)] = upstream

    def connect(
        self,
        url: BackendURL,
        *,
        keepalive: int,
        connect_timeout: float,  # noqa: ARG002 connecting takes no time
        max_age: float = 0.0,
        addresses: Sequence[str] = (),
        tls: Mapping[str, Any] | None = None,  # noqa: ARG002 memory needs no secrecy
    ) -> KitConnections:
        """Return the connections to the backend of the URL."""
        upstream = self._upstreams[id(url)]

        def find() -> KitBackend:
            return self.backends.get(f"{upstream}@{url.place}") or self.backend(upstream)

        made = KitConnections(
            url, clock=self._clock, find=find, keepalive=keepalive, max_age=max_age, addresses=addresses
        )
        self.connections.append(made)
        return made

    def backend(self, name: str) -> KitBackend:
        """Return the backend of this name; it answers 200 until a test gives it other answers."""
        if name not in self.backends:
            self.backends[name] = self._make_backend(name, self._report)
        return self.backends[name]

    def look_up(self, host: str) -> list[str]:
        """Return an address for a name, from the network for documentation (RFC 5737)."""
        return [self._addresses.setdefault(host, f"198.51.100.{len(self._addresses) % 254 + 1}")]

    def leased(self) -> list[MemorySocket]:
        """Return the connections to backends that an exchange has."""
        return [sock for connections in self.connections for sock in connections.leased()]
