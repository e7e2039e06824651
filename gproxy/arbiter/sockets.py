"""Sockets to listen on. The arbiter opens them, every worker accepts from them; nothing here needs an event loop."""

import contextlib
import os
import socket
import stat
import struct
from array import array
from pathlib import Path
from typing import Any, Final

from gproxy.config.types import Address

BACKLOG: Final = 2048
_SO_ATTACH_FILTER: Final = 26


class CannotListenError(Exception):
    """An address cannot be listened on; the message is one line that says which and why."""


def listen(address: Address) -> socket.socket:
    """A socket that listens there. Raises CannotListenError."""
    try:
        if address.kind == "unix":
            return _listen_unix(Path(address.path))
        if address.kind == "fd":
            return _adopt(address.fd)
        return _listen_tcp(address)
    except OSError as error:
        raise CannotListenError(f"cannot listen on {address}: {error.strerror or error}") from None


def silence(address: Address, sock: socket.socket) -> None:
    """Let nothing new come in: what is in the queue is what there is to accept, and then it can be closed.

    A client's SYN is ignored from here on; it is repeated a second later, and then refused. A unix socket loses its
    name. A socket that was inherited is left alone: whoever made it may have plans for it.
    """
    if address.kind == "tcp":
        ignore_handshakes(sock)
    elif address.kind == "unix":
        Path(address.path).unlink(missing_ok=True)


def ignore_handshakes(sock: socket.socket) -> None:
    """A socket filter that drops every packet for the listener; connections already made are not its packets."""
    drop_all = array("B", b"\x06\x00\x00\x00\x00\x00\x00\x00")  # BPF: return 0
    address, _ = drop_all.buffer_info()
    with contextlib.suppress(OSError):  # without filters, what is queued is accepted all the same
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, address))


def _listen_tcp(address: Address) -> socket.socket:
    family, kind, protocol, _, where = socket.getaddrinfo(
        address.host or "0.0.0.0", address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _send_at_once(sock)
    return _bound(sock, where)


def _send_at_once(sock: socket.socket) -> None:
    """Inherited by what is accepted; without it a kept-alive request waits for the client's delayed ACK."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _listen_unix(path: Path) -> socket.socket:
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode) and not _is_served(path):
        path.unlink()  # left by a process that was killed
    return _bound(socket.socket(socket.AF_UNIX), str(path))


def _bound(sock: socket.socket, where: Any) -> socket.socket:
    try:
        sock.bind(where)
        sock.listen(BACKLOG)
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


def _adopt(fd: int) -> socket.socket:
    """A copy: should a later reload want the number again, it is still there."""
    os.set_inheritable(fd, False)
    sock = socket.socket(fileno=os.dup(fd))
    if sock.family != socket.AF_UNIX:
        _send_at_once(sock)
    return sock
