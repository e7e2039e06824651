"""The settings and the code of the last generations, which a rollback returns to."""

import logging
import os
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from time import time
from typing import Final

from gproxy.arbiter.generations.file_watch import listed
from gproxy.config.ini.files import SourceFile
from gproxy.config.record import Record

_log = logging.getLogger("gproxy")

#: The generations before the one that serves whose settings and code are kept: kilobytes each.
_KEPT: Final = 3
#: The most memory files of one generation; a message passes at most 250 descriptors.
_MOST_FILES: Final = 100


class KeptCode:
    """The code of the user modules of a generation, in memory files that its workers write and read.

    For the arbiter they are descriptors only. They are closed with the last reading that has this code.
    """

    def __init__(self) -> None:
        self.fds: list[int] = []
        #: The paths of the modules.
        self.files: set[str] = set()
        self._is_full = False
        weakref.finalize(self, _close, self.fds)

    def add(self, fds: Sequence[int], files: Iterable[str]) -> None:
        """Keep what a worker has imported, unless another one has imported it before."""
        new = sorted(set(files) - self.files)
        if not new or len(self.fds) + len(fds) > _MOST_FILES:
            _close(fds)
            if new and not self._is_full:
                self._is_full = True
                what = "a generation keeps the code of %d imports; later workers read %s and further ones from the disk"
                _log.warning(what, _MOST_FILES, listed(new))
            return
        self.fds += fds
        self.files.update(files)


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Reading(Record):
    """The files of the settings as a generation has read them, and the code of its user modules."""

    generation: int
    files: Sequence[SourceFile] = field(repr=False)
    code: KeptCode = field(default_factory=KeptCode, repr=False)
    #: The Unix time at which the files were read.
    time: float = field(default_factory=time)
    #: False if the generation was replaced while it was on probation, or had failed it.
    is_proven: bool = True


class GenerationHistory:
    """The readings of the generation that serves and of those before it.

    A failed reload or rollback changes nothing here.
    """

    def __init__(self) -> None:
        self._current: Reading | None = None
        self._earlier: deque[Reading] = deque(maxlen=_KEPT)

    @property
    def previous(self) -> Reading | None:
        """The reading that a rollback returns to; None if there is none."""
        return self._earlier[-1] if self._earlier else None

    @property
    def proven(self) -> Reading | None:
        """The last reading that has passed its probation; without one the previous."""
        return next((one for one in reversed(self._earlier) if one.is_proven), self.previous)

    @property
    def depth(self) -> int:
        """The number of rollbacks that are possible one after the other."""
        return len(self._earlier)

    def serve(self, reading: Reading, rolled_back_to: Reading | None = None, *, is_proven: bool = True) -> None:
        """Note the reading that serves from now on; `is_proven` says whether the one before has passed its probation.

        After a rollback the next rollback goes further back.
        """
        if rolled_back_to is not None:
            while self._earlier.pop() is not rolled_back_to:
                pass
        elif self._current is not None:
            self._earlier.append(replace(self._current, is_proven=is_proven))
        self._current = reading
