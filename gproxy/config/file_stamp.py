"""The stamp of a file: what polling compares, which works on every file system, unlike notifications of the kernel."""

import os
from pathlib import Path
from typing import NamedTuple, Self


class FileStamp(NamedTuple):
    """The state of a file, to compare with a later one: it differs once the file is written or replaced."""

    #: Time of the last change, in nanoseconds.
    modified: int
    size: int
    inode: int

    @classmethod
    def of(cls, path: str | Path) -> Self | None:
        """Return the stamp of the file; None if there is none, or it cannot be reached."""
        try:
            found = os.stat(path)  # noqa: PTH116 the path may be a string
        except OSError:
            return None
        return cls(found.st_mtime_ns, found.st_size, found.st_ino)
