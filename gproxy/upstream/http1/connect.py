"""Connecting to a backend: the first of its addresses that accepts.

This is a simplified form of Happy Eyeballs (RFC 8305 section 5). The addresses are tried in order: the next one starts
at once if an address refuses, or after a delay if it is silent. Earlier attempts continue, and the first success wins.
"""

import errno
import os
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Any, Final

import gevent
from gevent import socket
from gevent.event import Event

#: How long an address may be silent before the next attempt starts beside it, in seconds (RFC 8305 section 8).
_STAGGER: Final = 0.25
#: How soon a unix socket with a full backlog is tried again, in seconds; the system has no event for free space.
_QUEUE_FULL: Final = 0.01
_WRITE: Final = 2
_TCP_OPTIONS: Final = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    # A tunnel or an event stream may be silent for hours: probes detect a vanished peer within two minutes.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)


class Endpoint:
    """The equivalent addresses of one backend; the one that accepted last is tried first."""

    __slots__ = ("targets",)

    def __init__(self, addresses: Iterable[str] = (), port: int = 0, *, path: str = "") -> None:
        #: Pairs of an address family and an address as `socket.connect` takes it.
        self.targets: Sequence[tuple[int, Any]] = [_target(address, port) for address in addresses]
        if path:
            self.targets = [(socket.AF_UNIX, path)]

    def connect(self, timeout: float) -> socket.socket:
        """Return a connected socket.

        Raise TimeoutError, gaierror if the endpoint has no address, or the OSError of the first address that failed.
        """
        if not self.targets:
            raise socket.gaierror(socket.EAI_NONAME, "the name has not been resolved")
        race = _Race(monotonic() + timeout)
        try:
            winner = race.run(self.targets)
        finally:
            race.close()
        if winner[1] != self.targets[0]:
            self.targets = [winner[1], *(target for target in self.targets if target != winner[1])]
        return winner[0]


class _Race:
    """Concurrent attempts to connect."""

    def __init__(self, ends: float) -> None:
        self._ends = ends
        self._running: dict[socket.socket, tuple[int, Any]] = {}
        self._error: OSError | None = None

    def run(self, targets: Sequence[tuple[int, Any]]) -> tuple[socket.socket, tuple[int, Any]]:
        """Return the first connected socket, and its target."""
        left = list(targets)
        while left or self._running:
            if left and (sock := self._begin(left.pop(0))) is not None:
                return sock, self._running.pop(sock)
            now = monotonic()
            until = min(self._ends, now + _STAGGER) if left else self._ends
            for sock in _writable(self._running, until - now):
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not code:
                    return sock, self._running.pop(sock)
                self._fail(sock, code)
            if self._running and monotonic() >= self._ends:
                raise TimeoutError
        raise self._error or TimeoutError

    def _begin(self, target: tuple[int, Any]) -> socket.socket | None:
        """Start an attempt; return its socket if it connects at once, as local addresses mostly do."""
        family, address = target
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            self._error = self._error or error
            return None
        self._running[sock] = target
        for option in _TCP_OPTIONS if family != socket.AF_UNIX else ():
            sock.setsockopt(*option)
        own: Any = sock
        connect = own._sock.connect_ex  # noqa: SLF001 gevent's method would wait
        code = connect(address)
        if code == errno.EINPROGRESS:  # PERF: a local handshake has ended by now; the second call says so
            code = connect(address)
        while code == errno.EAGAIN and family == socket.AF_UNIX and monotonic() < self._ends:
            gevent.sleep(_QUEUE_FULL)
            code = connect(address)
        if code == errno.EAGAIN:
            raise TimeoutError
        if code not in (0, errno.EALREADY, errno.EINPROGRESS):
            self._fail(sock, code)
        return None if code else sock

    def _fail(self, sock: socket.socket, code: int) -> None:
        del self._running[sock]
        sock.close()
        self._error = self._error or OSError(code, os.strerror(code))

    def close(self) -> None:
        """Cancel the attempts that are still running."""
        for sock in self._running:
            sock.close()


def _target(address: str, port: int) -> tuple[int, Any]:
    if ":" in address:
        return socket.AF_INET6, (address, port, 0, 0)
    return socket.AF_INET, (address, port)


def _writable(socks: Iterable[socket.socket], seconds: float) -> list[socket.socket]:
    """Wait for the first sockets that are connected or have failed, and return them; none after the timeout.

    `gevent.select` cannot replace it: it rejects descriptors beyond 1023.
    """
    loop = gevent.get_hub().loop
    ready: list[socket.socket] = []
    event = Event()
    watchers = []

    def on_writable(sock: socket.socket) -> None:
        ready.append(sock)
        event.set()

    try:
        for sock in socks:
            watcher = loop.io(sock.fileno(), _WRITE)
            watchers.append(watcher)
            watcher.start(on_writable, sock)
        if watchers:
            event.wait(max(seconds, 0.0))
    finally:
        for watcher in watchers:
            watcher.stop()
            watcher.close()
    return ready
