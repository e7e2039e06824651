"""Which hot path runs: the compiled one, or its sources, interpreted.

The build (setup.py) leaves a note of the sources that it compiled. If one of them is another by now, if there is no
note, or if GPROXY_PURE is set, all of them are imported as sources: never half of one and half of the other.
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
    """Was what is compiled made from the sources as they are?"""
    try:
        lines = _read(_NOTE).decode().splitlines()
        return bool(lines) and all(f"{crc32(_read(line[9:])):08x}" == line[:8] for line in lines)
    except OSError:
        return False


def _read(name: str) -> bytes:
    with open(f"{_PACKAGE}/{name}", "rb") as file:  # noqa: PTH123
        return file.read()


class _Sources:
    """Finds the package's modules as sources only."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("gproxy.") or path is None:
            return None
        return FileFinder(path[0], (SourceFileLoader, [".py"])).find_spec(fullname, target)


def choose() -> bool:
    """To be called before the first import of any other module of the package; True if the compiled ones run."""
    if not os.environ.get("GPROXY_PURE") and is_current():
        return True
    sys.meta_path.insert(0, _Sources())
    return False
