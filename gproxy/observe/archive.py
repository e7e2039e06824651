"""A rotated log becomes a .gz, once nobody writes to it any more."""

import fcntl
import os
import shutil
from pathlib import Path
from typing import Final

from isal import igzip

_PIECE: Final = 256 * 1024


def compress(path: Path) -> bool:
    """True if nothing is left to do; False if somebody has the file open still, who will let go of it within a second.

    Whoever writes to a log holds a shared lock on it. Raises OSError.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return True  # another worker was quicker
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        found = os.fstat(file.fileno())
        if found.st_nlink:
            part = path.with_name(f"{path.name}.gz.part")
            with igzip.open(part, "wb") as packed:  # type: ignore[no-untyped-call]
                shutil.copyfileobj(file, packed, _PIECE)
            part.chmod(found.st_mode & 0o777)
            os.utime(part, ns=(found.st_atime_ns, found.st_mtime_ns))
            part.rename(path.with_name(f"{path.name}.gz"))
            path.unlink()
    return True
