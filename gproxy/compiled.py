"""Which hot path runs: the compiled one, or its sources, interpreted.

The build (setup.py) leaves a note of the sources that it compiled. If one of them is another by now, if there is no
note, or if GPROXY_PURE is set, all of them are imported as sources: never half of one and half of the other.
"""

import os
import sys
from collections.abc import Sequence
from hashlib import blake2b
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Final

_PACKAGE: Final = Path(__file__).parent
#: Beside the compiled library: a line with the digest of each source, then its path below the package.
NOTE: Final = _PACKAGE / "compiled.txt"


def digest(source: Path) -> str:
    """Of the source's bytes, in hexadecimal."""
    return blake2b(source.read_bytes(), digest_size=16).hexdigest()


def is_current() -> bool:
    """Was what is compiled made from the sources as they are?"""
    try:
        lines = NOTE.read_text().splitlines()
        return bool(lines) and all(digest(_PACKAGE / line[33:]) == line[:32] for line in lines)
    except OSError:
        return False


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
