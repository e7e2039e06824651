"""Changed files, found by polling stat: for `reload = on`."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from gproxy.config.file_stamp import FileStamp
from gproxy.config.ini.files import absolute, matching


class FileWatch:
    """The stamps of the settings files, the modules beside the first one, and the files that workers report."""

    def __init__(self, settings: str) -> None:
        self._settings = Path(absolute(settings))
        self._seen = self._look(())

    def adopt(self, stamps: Mapping[str, FileStamp | None]) -> None:
        """Compare the next look with these stamps: those of the files that a new generation has read."""
        self._seen |= {name: stamp for name, stamp in stamps.items() if stamp}

    def changed(self, files: Iterable[str], patterns: Iterable[str] = ()) -> list[str]:
        """Return the files changed or removed since the last call, and new ones: modules, and matches of a pattern."""
        matches = {name for pattern in patterns for name in matching(pattern)}
        before, self._seen = self._seen, self._look({*files, *matches})
        folder = str(self._settings.parent)
        expected = {*before, *matches, *(name for name in self._seen if os.path.dirname(name) == folder)}  # noqa: PTH120
        return sorted(name for name in expected if before.get(name) != self._seen.get(name))

    def _look(self, files: Iterable[str]) -> dict[str, FileStamp]:
        beside = map(str, self._settings.parent.glob("*.py"))
        stamps = ((name, FileStamp.of(name)) for name in {str(self._settings), *beside, *files})
        return {name: stamp for name, stamp in stamps if stamp}


def listed(paths: Iterable[str]) -> str:
    """Return the absolute paths as a message shows them: from the working directory, unless that was removed."""
    paths = list(paths)
    try:
        return ", ".join(map(os.path.relpath, paths))
    except OSError:
        return ", ".join(paths)
