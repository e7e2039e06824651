"""The settings of the last generations, which a rollback returns to."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from gproxy.config.ini.files import SourceFile

#: The generations before the one that serves whose settings are kept: kilobytes each.
_KEPT: Final = 3


@dataclass(frozen=True, slots=True)
class Reading:
    """The files of the settings, as a generation has read them."""

    generation: int
    files: Sequence[SourceFile] = field(repr=False)


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
    def depth(self) -> int:
        """The number of rollbacks that are possible one after the other."""
        return len(self._earlier)

    def serve(self, reading: Reading, rolled_back_to: Reading | None = None) -> None:
        """Note the reading that serves from now on. After a rollback the next rollback goes further back."""
        if rolled_back_to is not None:
            self._earlier.remove(rolled_back_to)
        elif self._current is not None:
            self._earlier.append(self._current)
        self._current = reading
