"""The records that a worker gathers for the monitor, bounded, until they are sent together."""

from collections.abc import Mapping
from time import time
from typing import Final

#: The most records that wait, about a second of a busy worker that fails every request.
_MOST: Final = 10_000

#: Kind, Unix time, and fields that `marshal` can write.
Record = tuple[str, float, Mapping[str, object]]


class Feed:
    """The records of a worker for the monitor. Beyond a bound the newest are dropped and counted."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        #: The number of records that were dropped.
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """The number of records that wait."""
        return len(self._records)

    def put(self, kind: str, fields: Mapping[str, object]) -> None:
        """Add a record of this kind, with fields that `marshal` can write: texts, numbers, lists and dicts of them."""
        if len(self._records) >= _MOST:
            self.dropped += 1
        else:
            self._records.append((kind, time(), fields))

    def take(self, most: int) -> list[Record]:
        """Return the oldest records, at most so many, and forget them."""
        taken, self._records = self._records[:most], self._records[most:]
        return taken
