"""Sockets to listen on, and the server that accepts from them."""

import _socket
import ctypes
import logging
import os
import socket
import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import gevent
from gevent.pywsgi import WSGIServer
from greenlet import getcurrent, greenlet

from gproxy.config.sections import ServerSettings
from gproxy.config.types import Address
from gproxy.gateway.gateway import Gateway
from gproxy.runtime import Runtime
from gproxy.runtime.alarm import Wheel
from gproxy.server.connection import LINGER, Connection
from gproxy.server.known import Known
from gproxy.upstream.failure import SHORTAGES

_BACKLOG: Final = 2048
_SO_ATTACH_FILTER: Final = 26
#: How long accepting rests then, in seconds.
_PAUSE: Final = 0.1
#: How many greenlets are kept for connections to come.
_PARKED: Final = 32

_log = logging.getLogger("gproxy")


#: Makes a connection of (socket, address, server).
ConnectionClass = Callable[[Any, Any, "Server"], Connection]


class CannotListenError(Exception):
    """An address cannot be listened on; the message is one line that says which and why."""


def listen(address: Address) -> socket.socket:
    """A socket that listens there. Raises CannotListenError."""
    try:
        if address.kind == "unix":
            return _listen_unix(Path(address.path))
        if address.kind == "fd":
            return socket.socket(fileno=address.fd)
        return _listen_tcp(address)
    except OSError as error:
        raise CannotListenError(f"cannot listen on {address}: {error.strerror or error}") from None


def _listen_tcp(address: Address) -> socket.socket:
    family, kind, protocol, _, where = socket.getaddrinfo(
        address.host or "0.0.0.0", address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Inherited by what is accepted; without it a kept-alive request waits for the client's delayed ACK.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        sock.bind(where)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _listen_unix(path: Path) -> socket.socket:
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode) and not _is_served(path):
        path.unlink()  # left by a process that was killed
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(str(path))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


class Server(WSGIServer):  # type: ignore[misc]
    """pywsgi's accept loop, with our own connections behind it."""

    def __init__(
        self,
        listener: socket.socket,
        gateway: Gateway,
        settings: ServerSettings,
        runtime: Runtime,
        connection_class: ConnectionClass = Connection,
    ) -> None:
        super().__init__(
            listener, gateway, handler_class=connection_class, spawn=gevent.spawn_raw, log=None, error_log=None
        )
        self.gateway = gateway
        self.settings = settings
        self._runtime = runtime
        self.connections: set[Connection] = set()
        self.known = Known(settings, gateway)
        self.wheel = Wheel()
        self._by_address: Counter[str] = Counter()
        self._short_of: str = ""

    @property
    def draining(self) -> bool:
        return self._runtime.draining

    def admit(self, connection: Connection) -> str:
        """Count it in; why it is one too many, or nothing if it is not."""
        self.connections.add(connection)
        if not self.settings.max_connections_per_address:
            return self._too_many(len(self.connections), self.settings.max_connections, "")
        self._by_address[connection.peer] += 1
        return self._too_many(
            self._by_address[connection.peer], self.settings.max_connections_per_address, " from your address"
        ) or self._too_many(len(self.connections), self.settings.max_connections, "")

    @staticmethod
    def _too_many(count: int, limit: int, whose: str) -> str:
        return f"too many connections{whose}" if 0 < limit < count else ""

    def forget(self, connection: Connection) -> None:
        """It has ended."""
        self.connections.discard(connection)
        if self.settings.max_connections_per_address:
            self._by_address[connection.peer] -= 1
            if not self._by_address[connection.peer]:
                del self._by_address[connection.peer]

    def update_environ(self) -> None:
        """Nothing: there is no WSGI environment here, and the original asks DNS for our name."""

    def _do_read(self) -> None:
        """All that wait, each in a greenlet of its own; PERF: without what gevent does for every other server."""
        parked = self._runtime.parked
        for _ in range(self.max_accept):
            accepted = self.do_read()
            if accepted is None:
                return
            if parked:
                self.loop.run_callback(parked.pop().switch, (*accepted, self))
            else:
                gevent.spawn_raw(_serve, parked, (*accepted, self))

    def do_read(self) -> tuple[Any, Any] | None:
        """Accept without gevent's socket around it: a connection brings its own watcher."""
        listener = self.socket
        try:
            descriptor, address = listener._accept()
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in SHORTAGES:
                return None  # the client was gone before it was accepted
            self._pause(error)
            return None
        self._short_of = ""
        sock = _socket.socket(listener.family, listener.type, listener.proto, descriptor)
        sock.setblocking(False)
        return sock, address

    def _pause(self, error: OSError) -> None:
        """Out of descriptors or memory: those who are served go on, new ones wait in the kernel's queue."""
        if not self._short_of:
            _log.error("cannot accept connections: %s; trying again and again", error.strerror)
        self._short_of = error.strerror or "resources"
        self.stop_accepting()
        self._timer = self.loop.timer(_PAUSE)
        self._timer.start(self._start_accepting_if_started)

    def stop_accepting_losslessly(self) -> None:
        """Close the listener without resetting a connection that the kernel has completed and nobody accepted yet.

        New handshakes are ignored from here on (a client's SYN is repeated a second later, and then refused), what
        is in the queue is accepted, and only then the listener is closed.
        """
        if self.closed:
            return
        _ignore_handshakes(self.socket)
        if self.started:
            self.max_accept = _BACKLOG * 2
            self._do_read()
        is_unix = self.socket.family == socket.AF_UNIX
        path = self.socket.getsockname() if is_unix else ""
        self.close()
        if path:
            Path(path).unlink(missing_ok=True)

    def drain(self) -> None:
        """Idle connections get a last chance, the others close after their answer."""
        for connection in list(self.connections):
            connection.linger(LINGER)


def _serve(parked: list[greenlet], accepted: tuple[Any, Any, Server]) -> None:
    """One connection after the other; PERF: a new greenlet maps and unmaps memory for its frames."""
    while True:
        sock, address, server = accepted
        server.handler_class(sock, address, server).handle()
        if len(parked) >= _PARKED:
            return
        parked.append(getcurrent())
        accepted = gevent.get_hub().switch()


def _ignore_handshakes(sock: socket.socket) -> None:
    """A socket filter that drops every packet for the listener; connections already made are not its packets."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))

    drop_all = ctypes.create_string_buffer(b"\x06\x00\x00\x00\x00\x00\x00\x00")  # BPF: return 0
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(Program(1, ctypes.addressof(drop_all))))
    except OSError:
        pass  # a unix socket, or a system without filters: what is queued is accepted all the same


def close_unused(sockets: list[socket.socket]) -> None:
    """After a failed start."""
    for sock in sockets:
        path = sock.getsockname() if sock.family == socket.AF_UNIX else ""
        sock.close()
        if path and os.path.exists(path):  # noqa: PTH110 abstract names are no paths
            os.unlink(path)  # noqa: PTH108
