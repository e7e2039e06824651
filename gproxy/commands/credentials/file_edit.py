"""Changes of files that gateways watch: whole or not at all, with the mode and the owner that the file has."""

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

#: The mode of a new file.
_PRIVATE: Final = 0o600


def edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Replace the content of a file by what `change` returns for it; a file that does not exist is empty.

    Its folder is made too. One change at a time, and readers find the old content or the new one. Raises OSError, and
    what `change` raises.
    """
    place = Path(os.path.realpath(path))  # a link stays one
    place.parent.mkdir(parents=True, exist_ok=True)
    with _folder_locked(place.parent):
        found = place.stat() if place.exists() else None
        content = change(place.read_bytes() if found else b"")
        descriptor, name = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
        try:
            _write(descriptor, content, found)
            Path(name).replace(place)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _write(descriptor: int, content: bytes, like: os.stat_result | None) -> None:
    """Write a file to the disk and close it. `like` is the file that it replaces."""
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(descriptor, like.st_mode & 0o7777 if like else _PRIVATE)
        if like:
            with suppress(PermissionError):  # only root may give a file away
                os.fchown(descriptor, like.st_uid, like.st_gid)
        os.fsync(descriptor)


@contextmanager
def _folder_locked(folder: Path) -> Iterator[None]:
    """Let no other `edit` change files of the folder; at the end its names survive a power failure.

    The lock is the folder's, because the file itself is replaced.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
