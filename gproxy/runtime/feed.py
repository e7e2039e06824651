"""The records that a worker gathers for the monitor, bounded, until they are sent together."""

from collections.abc import Callable, Mapping
from time import time
from typing import Final

#: The most records that wait, about a second of a busy worker that fails every request.
_MOST: Final = 10_000
#: The most bytes of long records that wait, and those of one batch: the monitor reads it whole.
_MOST_BYTES: Final = 16 * 1024 * 1024
_BATCH_BYTES: Final = 1024 * 1024

#: Kind, Unix time, and fields that `marshal` can write.
Record = tuple[str, float, Mapping[str, object]]


class EachSecond:
    """A bound on what is fed: at most `most` in each second of the clock."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self._second = 0
        self._count = 0

    def has_room(self) -> bool:
        """Return whether the present second has room for one more."""
        return self._count < self._most or int(self._clock()) != self._second

    def take(self) -> bool:
        """Count one more, and return True; return False without room for it."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._count = second, 0
        if self._count >= self._most:
            return False
        self._count += 1
        return True


class Feed:
    """The records of a worker for the monitor. Beyond a bound the newest are dropped and counted."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        #: The sizes of long records, by their places among all records so far; and their sum.
        self._sizes: dict[int, int] = {}
        self._bytes = 0
        self._taken = 0
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

    def put_long(self, kind: str, fields: Mapping[str, object], size: int) -> bool:
        """Add a record of so many bytes. Return False, without counting, if there is no room for it."""
        if len(self._records) >= _MOST or self._bytes + size > _MOST_BYTES:
            return False
        self._sizes[self._taken + len(self._records)] = size
        self._bytes += size
        self.put(kind, fields)
        return True

    def take(self, most: int) -> list[Record]:
        """Return the oldest records, at most so many, and forget them; less if they are long."""
        if self._sizes:
            most = self._within_bytes(most)
        taken, self._records = self._records[:most], self._records[most:]
        self._taken += len(taken)
        return taken

    def _within_bytes(self, most: int) -> int:
        """Return how many records the next batch has, and forget their sizes."""
        size = 0
        for count in range(min(most, len(self._records))):
            size += self._sizes.get(self._taken + count, 0)
            if size > _BATCH_BYTES and count:
                most = count
                break
        for place in range(self._taken, self._taken + most):
            self._bytes -= self._sizes.pop(place, 0)
        return most
