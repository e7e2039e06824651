"""Changed files, found by polling stat: for `reload = on`."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from gproxy.config.file_stamp import FileStamp
from gproxy.config.ini.files import absolute, matching

#: The most files and folders below a folder of `[server] watch` that are watched.
_MOST: Final = 5000
#: Folders with files that programs write, and that are many.
_SKIPPED: Final = frozenset({"__pycache__", "node_modules"})


class FileWatch:
    """The stamps of the settings files, the modules beside them and user code, and the files that workers report."""

    def __init__(self, settings: str) -> None:
        self._settings = Path(absolute(settings))
        #: The folders whose modules are watched, new ones too.
        self._folders = {str(self._settings.parent)}
        self._seen = self._look(())

    def adopt(self, stamps: Mapping[str, FileStamp | None]) -> None:
        """Compare the next look with these stamps: those of the files that a new generation has read."""
        self._seen |= {name: stamp for name, stamp in stamps.items() if stamp}

    def changed(self, files: Iterable[str], patterns: Iterable[str] = ()) -> list[str]:
        """Return the files changed or removed since the last call, and new ones: modules, and matches of a pattern."""
        files, matches, folders = set(files), set(watched_files(patterns)), self._folders
        self._folders = {str(self._settings.parent), *(_folder(name) for name in files if name.endswith(".py"))}
        before, self._seen = self._seen, self._look(files | matches)
        expected = {*before, *matches, *(name for name in self._seen if _folder(name) in folders)}
        return sorted(name for name in expected if before.get(name) != self._seen.get(name))

    def _look(self, files: Iterable[str]) -> dict[str, FileStamp]:
        beside = (str(name) for folder in self._folders for name in Path(folder).glob("*.py"))
        stamps = ((name, FileStamp.of(name)) for name in {str(self._settings), *beside, *files})
        return {name: stamp for name, stamp in stamps if stamp}


def _folder(path: str) -> str:
    return os.path.dirname(path)  # noqa: PTH120 many looks, and sets of texts


def watched_files(patterns: Iterable[str]) -> Iterator[str]:
    """Yield the files of these paths and patterns, in the place of a folder those below it, and missing ones too."""
    for pattern in patterns:
        for path in matching(pattern):
            yield from _below(path)


def _below(path: str) -> Iterator[str]:
    """Yield the path or, for a folder, the files below it: at most _MOST, and no hidden ones.

    An editor writes copies of a file while it is open: they are hidden too, or end with `~` or `#`.
    """
    if not os.path.isdir(path):  # noqa: PTH112
        yield path
        return
    left = _MOST
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if name[0] != "." and name not in _SKIPPED)
        watched = sorted(name for name in names if name[0] != "." and name[-1] not in "~#")[:left]
        yield from (os.path.join(folder, name) for name in watched)  # noqa: PTH118
        left -= len(watched) + 1
        if left <= 0:
            return


def listed(paths: Iterable[str]) -> str:
    """Return the absolute paths as a message shows them: from the working directory, unless that was removed."""
    paths = list(paths)
    try:
        return ", ".join(map(os.path.relpath, paths))
    except OSError:
        return ", ".join(paths)
