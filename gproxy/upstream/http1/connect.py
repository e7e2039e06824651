"""A socket to a backend: to the first of its addresses that takes it.

Happy Eyeballs, simplified (RFC 8305 section 5): the addresses are tried one after the other, the next one at once if
one refuses, or after a moment if it says nothing; the attempts before it go on, and whichever is first wins.
"""

import errno
import os
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Any, Final

import gevent
from gevent import socket
from gevent.event import Event

#: How long an address may say nothing before the next one is tried beside it, in seconds (RFC 8305 section 8).
_STAGGER: Final = 0.25
#: How soon a unix socket whose queue is full is asked again, in seconds; nothing tells when it has room.
_QUEUE_FULL: Final = 0.01
_WRITE: Final = 2
_TCP_OPTIONS: Final = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    # A tunnel or an event stream may be silent for hours: a peer that is gone is noticed within two minutes.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)


class Endpoint:
    """Where one backend listens: addresses any of which will do, the one that worked last first."""

    __slots__ = ("targets",)

    def __init__(self, addresses: Iterable[str] = (), port: int = 0, *, path: str = "") -> None:
        #: As `socket.connect` takes them, each with its family.
        self.targets: Sequence[tuple[int, Any]] = [_target(address, port) for address in addresses]
        if path:
            self.targets = [(socket.AF_UNIX, path)]

    def connect(self, timeout: float) -> Any:
        """Raises OSError: TimeoutError, gaierror if there is no address, or why the first of them refused."""
        if not self.targets:
            raise socket.gaierror(socket.EAI_NONAME, "no address is known")
        race = _Race(monotonic() + timeout)
        try:
            winner = race.run(self.targets)
        finally:
            race.close()
        if winner[1] != self.targets[0]:
            self.targets = [winner[1], *(target for target in self.targets if target != winner[1])]
        return winner[0]


class _Race:
    """Attempts to connect, side by side."""

    def __init__(self, ends: float) -> None:
        self._ends = ends
        self._running: dict[Any, tuple[int, Any]] = {}
        self._why: OSError | None = None

    def run(self, targets: Sequence[tuple[int, Any]]) -> tuple[Any, tuple[int, Any]]:
        """The first socket that is connected, and to what."""
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
                self._lose(sock, code)
            if self._running and monotonic() >= self._ends:
                raise TimeoutError
        raise self._why or TimeoutError

    def _begin(self, target: tuple[int, Any]) -> Any:
        """Its socket if that is connected at once, as on this machine it mostly is."""
        family, address = target
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            self._why = self._why or error
            return None
        self._running[sock] = target
        for option in _TCP_OPTIONS if family != socket.AF_UNIX else ():
            sock.setsockopt(*option)
        code = sock._sock.connect_ex(address)  # gevent's own would wait
        while code == errno.EAGAIN and family == socket.AF_UNIX and monotonic() < self._ends:
            gevent.sleep(_QUEUE_FULL)
            code = sock._sock.connect_ex(address)
        if code == errno.EAGAIN:
            raise TimeoutError
        if code not in (0, errno.EINPROGRESS):
            self._lose(sock, code)
        return None if code else sock

    def _lose(self, sock: Any, code: int) -> None:
        del self._running[sock]
        sock.close()
        self._why = self._why or OSError(code, os.strerror(code))

    def close(self) -> None:
        """Give up what is still under way."""
        for sock in self._running:
            sock.close()


def _target(address: str, port: int) -> tuple[int, Any]:
    if ":" in address:
        return socket.AF_INET6, (address, port, 0, 0)
    return socket.AF_INET, (address, port)


def _writable(socks: Iterable[Any], seconds: float) -> list[Any]:
    """Those that are connected or refused, once there is one; none if that takes too long.

    Not `gevent.select`, which cannot take a descriptor beyond 1023.
    """
    loop = gevent.get_hub().loop
    ready: list[Any] = []
    event = Event()
    watchers = []

    def on_writable(sock: Any) -> None:
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
