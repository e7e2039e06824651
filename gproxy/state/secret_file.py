"""A secret of our own that outlives restarts, kept in a file."""

import fcntl
import logging
import os
import secrets
from pathlib import Path
from typing import Final

_log = logging.getLogger("gproxy")

#: Random bytes in a secret of our own: as many as SHA-512 gives, so it does for every HS algorithm (RFC 7518, 3.2).
_SECRET_BYTES: Final = 64


def kept_secret(path: Path) -> str:
    """The secret kept in `path`, readable by its owner only; made if it is not there yet.

    Workers that start together get the same one. Raises ValueError if it cannot be read or kept.
    """
    try:
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ValueError(f"it cannot be kept in {path}: {error.strerror}") from None
    with open(descriptor, "r+", encoding="ascii", errors="replace") as file:  # noqa: PTH123 its mode was ours to set
        fcntl.flock(file, fcntl.LOCK_EX)  # until closed: whoever comes second finds the first one's
        if os.fstat(descriptor).st_mode & 0o077:
            _log.warning("%s can be read by others; chmod 600 it", path)
        secret = file.read().strip()
        if not secret:
            secret = secrets.token_urlsafe(_SECRET_BYTES)
            file.write(secret + "\n")
            file.flush()
            os.fsync(descriptor)
    if len(secret) < _SECRET_BYTES // 2:
        raise ValueError(f"the one kept in {path} is cut off; remove the file and a new one is made")
    return secret
