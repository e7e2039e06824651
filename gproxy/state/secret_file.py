"""A generated secret in a file, which survives restarts."""

import fcntl
import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

_log = logging.getLogger("gproxy")

#: Random bytes of a generated secret: the hash size of SHA-512, enough for every HS algorithm (RFC 7518, 3.2).
_SECRET_BYTES: Final = 64


def kept_secret(path: Path) -> str:
    """Return the secret in `path`, readable by its owner only. Create it if absent.

    Workers that start together get the same secret. Raises ValueError if it cannot be read or stored, or if others can
    read it and the mode of the file cannot be changed.
    """
    try:
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ValueError(f"it cannot be stored in {path}: {error.strerror}") from None
    with open(descriptor, "r+", encoding="ascii", errors="replace") as file:  # noqa: PTH123 Path.open cannot set the mode
        fcntl.flock(file, fcntl.LOCK_EX)  # held until close: later workers read the secret of the first
        _close_to_others(descriptor, path)
        secret = file.read().strip()
        if not secret:
            secret = secrets.token_urlsafe(_SECRET_BYTES)
            file.write(secret + "\n")
            file.flush()
            os.fsync(descriptor)
    if len(secret) < _SECRET_BYTES // 2:
        raise ValueError(f"the one stored in {path} is truncated; remove the file to create a new one")
    return secret


def _close_to_others(descriptor: int, path: Path) -> None:
    """Take the permissions of others away from the file: a copy, or the mount of a volume, may have given them.

    Raises ValueError if that fails.
    """
    if not os.fstat(descriptor).st_mode & 0o077:
        return
    with suppress(OSError):
        os.fchmod(descriptor, 0o600)
    if os.fstat(descriptor).st_mode & 0o077:
        raise ValueError(f"others can access the one stored in {path}, and its mode cannot be changed; chmod 600 it")
    _log.warning("others could access %s; it has mode 0600 now. Remove it and restart to get a new secret", path)
