"""Listening sockets: the arbiter opens, inherits and silences them; the workers accept from them."""

import contextlib
import errno
import os
import socket
import stat
import struct
from array import array
from pathlib import Path
from typing import Final

from gproxy.config.types import Address

BACKLOG: Final = 2048
_SO_ATTACH_FILTER: Final = 26
#: The first port that needs no privilege.
_PRIVILEGED: Final = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


class CannotListenError(Exception):
    """A failure to listen on an address; the message is one line with the address and the reason."""


class UnixListener(socket.socket):
    """A listening unix socket that knows its file: somebody may remove or replace it while the socket is open."""

    def __init__(self, path: Path) -> None:
        super().__init__(socket.AF_UNIX)
        self._path = path
        _bind(self, str(path))
        self._file = _identity(path)

    @property
    def has_path(self) -> bool:
        """True if the path still leads to this socket; while the socket is open no other file gets its inode."""
        return _identity(self._path) == self._file


def listen(address: Address) -> socket.socket:
    """Return a socket that listens on the address. Raises CannotListenError."""
    try:
        if address.kind == "unix":
            return _listen_unix(Path(address.path))
        if address.kind == "fd":
            return _adopt(address.fd)
        return _listen_tcp(address)
    except OSError as error:
        raise CannotListenError(
            f"cannot listen on {address}: {error.strerror or error}{_hint(address, error)}"
        ) from None


def _hint(address: Address, error: OSError) -> str:
    """Return what a path or an address lacks, or how an ordinary user may listen on a low port; else an empty text."""
    if address.kind == "unix" and error.errno == errno.ENOENT:
        return f"; there is no folder {Path(address.path).parent}"
    if address.kind == "unix" and error.errno == errno.EADDRINUSE and not Path(address.path).is_socket():
        return "; there is another file of this name"
    if address.kind == "tcp" and error.errno == errno.EADDRNOTAVAIL:
        return "; no interface of this machine has this address"
    free = _first_free_port()
    if address.kind != "tcp" or error.errno != errno.EACCES or address.port >= free:
        return ""
    return (
        f"; ports below {free} need the capability CAP_NET_BIND_SERVICE"
        " (AmbientCapabilities= of a systemd service) or a socket of systemd"
    )


def _first_free_port() -> int:
    try:
        return int(_PRIVILEGED.read_text())
    except (OSError, ValueError):
        return 1024


def is_reachable(sock: socket.socket) -> bool:
    """Return whether clients can still connect to a listening socket."""
    return not isinstance(sock, UnixListener) or sock.has_path


def silence(address: Address, sock: socket.socket) -> None:
    """Stop new connections to the socket, so that it can be closed once its queue is empty.

    On TCP the kernel drops new SYNs; a client repeats its SYN a second later and is refused then. A unix socket loses
    its name, unless the name leads to another one by now. An inherited socket stays unchanged: the process that opened
    it may still use it.
    """
    if address.kind == "tcp":
        ignore_handshakes(sock)
    elif address.kind == "unix" and is_reachable(sock):
        Path(address.path).unlink(missing_ok=True)


def ignore_handshakes(sock: socket.socket) -> None:
    """Attach a socket filter that drops every packet to the listener; established connections are not affected."""
    drop_all = array("B", b"\x06\x00\x00\x00\x00\x00\x00\x00")  # BPF: return 0
    address, _ = drop_all.buffer_info()
    with contextlib.suppress(OSError):  # without filters, queued connections are accepted nevertheless
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, address))


def _listen_tcp(address: Address) -> socket.socket:
    family, kind, protocol, _, where = socket.getaddrinfo(
        address.host or "0.0.0.0",  # noqa: S104 a gateway listens on all interfaces
        address.port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )[0]
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _send_at_once(sock)
    _bind(sock, where)
    return sock


def _send_at_once(sock: socket.socket) -> None:
    """Set TCP_NODELAY, which accepted sockets inherit; otherwise a response may wait for the client's delayed ACK."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _listen_unix(path: Path) -> socket.socket:
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode) and not _is_served(path):
        path.unlink()  # left by a process that was killed
    return UnixListener(path)


def _bind(sock: socket.socket, where: tuple[object, ...] | str) -> None:
    try:
        sock.bind(where)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what distinguishes the file from all others that exist; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _adopt(fd: int) -> socket.socket:
    """Return a socket on a copy of the descriptor: a later reload may need the original again."""
    os.set_inheritable(fd, False)
    sock = socket.socket(fileno=os.dup(fd))
    if sock.family != socket.AF_UNIX:
        _send_at_once(sock)
    return sock
