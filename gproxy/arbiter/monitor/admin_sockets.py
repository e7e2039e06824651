"""The listening sockets of `[admin]`, which the arbiter opens and keeps, with the permissions of unix sockets."""

import grp
import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from gproxy.arbiter.sockets import CannotListenError, is_reachable, listen, silence
from gproxy.config.sections.admin import AdminSettings
from gproxy.config.types import Address

AdminSockets = Mapping[Address, socket.socket]


def open_sockets(admin: AdminSettings, present: AdminSockets) -> dict[Address, socket.socket]:
    """Return a socket for each address, one of `present` if it has the address. Raises CannotListenError.

    A present one keeps its permissions until `permit`: the reload may fail yet.
    """
    opened: dict[Address, socket.socket] = {}
    try:
        for address in admin.bind:
            kept = present.get(address)
            if kept is not None and is_reachable(kept):
                opened[address] = kept
                _group(admin)
            else:
                opened[address] = _listen(address, admin)
                permit([address], admin)
    except CannotListenError:
        close_sockets(opened, present)
        raise
    return opened


def permit(addresses: Iterable[Address], admin: AdminSettings) -> None:
    """Set group and permissions of the files of the unix sockets. Raises CannotListenError."""
    for address in addresses:
        if address.kind == "unix":
            _permit(Path(address.path), admin)


def close_sockets(sockets: AdminSockets, but: AdminSockets) -> None:
    """Close the sockets that are not in `but`."""
    for address, sock in sockets.items():
        if but.get(address) is not sock:
            silence(address, sock)
            sock.close()


def _listen(address: Address, admin: AdminSettings) -> socket.socket:
    """Open a socket. Only its owner may connect to a unix socket before `permit`: its permissions authenticate.

    Its folder is made if it is missing, as that of the access log is. Raises CannotListenError.
    """
    if address.kind == "unix":
        _make_folder(Path(address.path).parent, admin)
    before = os.umask(0o177)
    try:
        return listen(address)
    finally:
        os.umask(before)


def _make_folder(folder: Path, admin: AdminSettings) -> None:
    """Make the folder of a unix socket, for its owner only if the socket is. Raises CannotListenError."""
    is_private = not admin.permissions & 0o077
    try:
        folder.mkdir(0o700 if is_private else 0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotListenError(f"[admin] bind: cannot make the folder {folder}: {error.strerror}") from None


def _permit(path: Path, admin: AdminSettings) -> None:
    """Set group and permissions of the socket's file. Raises CannotListenError."""
    group = _group(admin)
    try:
        os.chown(path, -1, group)
        path.chmod(admin.permissions)
    except OSError as error:
        raise CannotListenError(f"cannot set the permissions of unix:{path}: {error.strerror}") from None


def _group(admin: AdminSettings) -> int:
    """Return the id of the group of the unix sockets; -1 to leave the group as it is. Raises CannotListenError."""
    try:
        return -1 if admin.group is None else grp.getgrnam(admin.group).gr_gid
    except KeyError:
        raise CannotListenError(f"[admin] group: there is no group {admin.group!r}") from None
