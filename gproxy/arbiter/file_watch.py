"""Changed files, for `reload = on`, found by polling stat, which works on every file system."""

import os
from collections.abc import Iterable
from pathlib import Path

_Look = tuple[int, int, int]


class FileWatch:
    """The stamps of the settings file, the modules beside it, and the files that workers report."""

    def __init__(self, settings: str) -> None:
        self._settings = Path(settings).absolute()
        self._seen = self._look(())

    def changed(self, files: Iterable[str]) -> list[str]:
        """Return the files changed or removed since the last call, and new modules beside the settings."""
        before, self._seen = self._seen, self._look(files)
        folder = str(self._settings.parent)
        return sorted(
            name
            for name in {*before, *self._seen}
            if before.get(name) != self._seen.get(name) and (name in before or os.path.dirname(name) == folder)  # noqa: PTH120
        )

    def _look(self, files: Iterable[str]) -> dict[str, _Look]:
        beside = map(str, self._settings.parent.glob("*.py"))
        looks = ((name, _look(name)) for name in {str(self._settings), *beside, *files})
        return {name: look for name, look in looks if look}


def _look(name: str) -> _Look | None:
    try:
        found = os.stat(name)  # noqa: PTH116 the name is a string
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
