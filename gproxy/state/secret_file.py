"""A generated secret in a file, which survives restarts."""

import fcntl
import logging
import os
import secrets
from pathlib import Path
from typing import Final

_log = logging.getLogger("gproxy")

#: Random bytes of a generated secret: the hash size of SHA-512, enough for every HS algorithm (RFC 7518, 3.2).
_SECRET_BYTES: Final = 64


def kept_secret(path: Path) -> str:
    """Return the secret in `path`, readable by its owner only. Create it if absent.

    Workers that start together get the same secret. Raises ValueError if it cannot be read or stored.
    """
    try:
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ValueError(f"it cannot be stored in {path}: {error.strerror}") from None
    with open(descriptor, "r+", encoding="ascii", errors="replace") as file:  # noqa: PTH123 Path.open cannot set the mode
        fcntl.flock(file, fcntl.LOCK_EX)  # held until close: later workers read the secret of the first
        if os.fstat(descriptor).st_mode & 0o077:
            _log.warning("%s can be read by others; chmod 600 it", path)
        secret = file.read().strip()
        if not secret:
            secret = secrets.token_urlsafe(_SECRET_BYTES)
            file.write(secret + "\n")
            file.flush()
            os.fsync(descriptor)
    if len(secret) < _SECRET_BYTES // 2:
        raise ValueError(f"the one stored in {path} is truncated; remove the file to create a new one")
    return secret
