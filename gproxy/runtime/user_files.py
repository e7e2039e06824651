"""The files of user code, as opposed to those of the gateway, of the standard library and of installed packages."""

import sysconfig
from functools import lru_cache
from pathlib import Path
from typing import Final

#: What the gateway's files begin with. Compiled code has relative paths.
_OWN: Final = (f"{Path(__file__).parents[1]}/", "gproxy/")
_LIBRARIES: Final = (
    "<", *_OWN, "src/gevent/",
    *(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib", "purelib", "platlib")),
)  # fmt: skip
#: Parts of a path that show a package of another installation, such as one of PYTHONPATH.
_INSTALLED: Final = ("/site-packages/", "/dist-packages/")


def is_own(file: str) -> bool:
    """Return whether the file is one of the gateway."""
    return file.startswith(_OWN)


@lru_cache(1024)
def is_users(file: str) -> bool:
    """Return whether the file is one of user code."""
    return not file.startswith(_LIBRARIES) and not any(part in file for part in _INSTALLED)
