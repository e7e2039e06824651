"""`reload = on`: a reload when a file of the settings or of user code has changed."""

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Final

from gproxy.arbiter.event_loop import EventLoop
from gproxy.arbiter.generations.file_watch import FileWatch, listed
from gproxy.arbiter.generations.generation import Generation

#: Seconds between two looks, and how many times as long as a look they are at least: a look may visit many files.
_LOOK_EVERY: Final = 0.1
_SHARE: Final = 50


class ReloadOnChange:
    """The watch of the files of the generation that serves; calls `reload` with the cause, unless one is under way.

    A generation without `reload = on` has no watch.
    """

    def __init__(
        self, path: str, loop: EventLoop, reload: Callable[[str], None], is_reloading: Callable[[], bool]
    ) -> None:
        self._path = path
        self._loop = loop
        self._reload = reload
        self._is_reloading = is_reloading
        self._watch: FileWatch | None = None
        self._generation: Generation | None = None

    def follow(self, generation: Generation) -> None:
        """Watch the files of this generation, which serves from now on."""
        self._generation = generation
        if not generation.server.reload:
            self._watch = None
            return
        if self._watch is None:
            self._watch = FileWatch(self._path)
            self._loop.after(_LOOK_EVERY, partial(self._look, self._watch))
        self._watch.adopt({**generation.files, **generation.stamps})

    def _look(self, watch: FileWatch) -> None:
        if watch is not self._watch:
            return
        began = monotonic()
        if self._generation and not self._is_reloading():
            changed = watch.changed(self._generation.files, self._generation.patterns)
            if changed:
                self._reload(f"{listed(changed)} changed")
        self._loop.after(max(_LOOK_EVERY, (monotonic() - began) * _SHARE), partial(self._look, watch))
