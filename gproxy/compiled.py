"""Choice of the hot path: the compiled modules, or their sources, interpreted.

The build (setup.py) writes a note with the checksum of each source that it compiles. If a source has changed since, if
the note is missing, or if GPROXY_PURE is set, all modules are imported as sources: the two kinds are never mixed.
"""

import os
import sys
from collections.abc import Sequence
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import Final
from zlib import crc32

_PACKAGE: Final = os.path.dirname(__file__)  # noqa: PTH120 pathlib and hashlib would cost the arbiter memory
#: Beside the compiled library: a line with the checksum of each source, then its path below the package.
_NOTE: Final = "compiled.txt"


def is_current() -> bool:
    """Return whether the compiled modules were made from the present sources."""
    try:
        lines = _read(_NOTE).decode().splitlines()
        return bool(lines) and all(f"{crc32(_read(line[9:])):08x}" == line[:8] for line in lines)
    except OSError:
        return False


def _read(name: str) -> bytes:
    with open(f"{_PACKAGE}/{name}", "rb") as file:  # noqa: PTH123
        return file.read()


class _Sources:
    """An import finder that loads the modules of the package from their sources only."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("gproxy.") or path is None:
            return None
        return FileFinder(path[0], (SourceFileLoader, [".py"])).find_spec(fullname, target)


def choose() -> bool:
    """Choose the hot path before any other module is imported. Return True if the compiled modules run."""
    if not os.environ.get("GPROXY_PURE") and is_current():
        return True
    sys.meta_path.insert(0, _Sources())
    return False
