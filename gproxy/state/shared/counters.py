"""Counters that each process writes for itself and all processes read: a row of cells for each process.

A list of names that only grows assigns the cells. A row survives its process: the next owner continues the counts, so
the counts of a killed worker are never lost, and no process has to sum them up in time.
"""

import logging
import math
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from gproxy.state.shared.memory import Region, SharedState

_log = logging.getLogger("gproxy")

#: Cells of 8 bytes in a row, and bytes for the names; only touched pages cost memory.
CELLS: Final = 128 * 1024
_NAMES: Final = 8 * 1024 * 1024
#: The most processes at a time, draining ones included.
_ROWS: Final = 512

# The layout of the names: a word with the number of used bytes and assigned cells (storing it makes a new name valid);
# a word with the number of rows ever used; then each name with its first cell and number of cells.
_HEAD: Final = 16
_ENTRY: Final = struct.Struct("=III")
_HALF: Final = 0xFFFFFFFF


class Place(NamedTuple):
    """The cells of one name: the first, and their number."""

    name: str
    start: int
    size: int


class CountersView:
    """A view of the rows of all processes, for a process with or without a row of its own."""

    def __init__(self, state: SharedState, names: Region) -> None:
        self._state = state
        self._names = names
        self._rows: dict[int, Region] = {}
        self._places: dict[str, Place] = {}
        self._read = 0

    @classmethod
    def of(cls, state: SharedState) -> "CountersView | None":
        """Return a view; None if there is no room for the names."""
        names = state.area("figures", _NAMES)
        return cls(state, names) if names is not None else None

    def _used(self) -> tuple[int, int]:
        state = self._names.words[0]
        return state & _HALF, state >> 32

    @property
    def cells_used(self) -> int:
        """The number of cells that names have."""
        return self._used()[1]

    def places(self) -> Iterator[Place]:
        """Yield all names with their cells, in order of creation."""
        used, _ = self._used()
        if used < self._read:  # the last process of an earlier time has wiped the names
            self._places, self._read = {}, 0
        while self._read < used:
            at = _HEAD + self._read
            start, size, length = _ENTRY.unpack_from(self._names.data, at)
            name = bytes(self._names.data[at + _ENTRY.size : at + _ENTRY.size + length]).decode()
            self._places[name] = Place(name, start, size)
            self._read += _ENTRY.size + length
        yield from self._places.values()

    def rows(self, *, living: bool = False) -> "dict[int, memoryview[float]]":
        """Return all rows ever used, or only those of living processes, by number."""
        for number in range(self._names.words[1]):
            if number not in self._rows and (row := self._state.area(_row(number), CELLS * 8)):
                self._rows[number] = row
        return {number: row.floats for number, row in self._rows.items() if not living or self._lives(number)}

    def _lives(self, number: int) -> bool:
        return self._state.is_led(_row(number))


class SharedCounters(CountersView):
    """The row of this process, and a view of all other rows."""

    def __init__(self, state: SharedState, names: Region, row: Region, number: int) -> None:
        super().__init__(state, names)
        self._mutex = state.mutexes("figures")(0)
        self._row = row
        #: The number of the row, from 0. No other process has this row while this process lives.
        self.number = number
        self._rows[number] = row

    @classmethod
    def open(cls, state: SharedState) -> "SharedCounters | None":
        """Open the first free row; None if there is no room."""
        names = state.area("figures", _NAMES)
        number = next((number for number in range(_ROWS) if state.lead(_row(number))), None)
        if names is None or number is None:
            return None
        row = state.area(_row(number), CELLS * 8)
        if row is None:
            state.resign(_row(number))
            return None
        with state.mutexes("figures")(0):
            names.words[1] = max(names.words[1], number + 1)
        return cls(state, names, row, number)

    def _lives(self, number: int) -> bool:
        return number == self.number or super()._lives(number)

    def cells(self, name: str, size: int) -> "memoryview[float] | None":
        """Return this process's cells for the name; None if there is no room for another name."""
        place = self._find(name) or self._add(name, size)
        return self.own(place) if place else None

    def own(self, place: Place) -> "memoryview[float]":
        """Return this process's cells of the place."""
        return self._row.floats[place.start : place.start + place.size]

    def revive(self, name: str) -> None:
        """Set the first cell of a name to 0 in each row where a process has removed it: where it is no number."""
        if (place := self._find(name)) is not None:
            for row in self.rows().values():
                if math.isnan(row[place.start]):
                    row[place.start] = 0.0

    def _find(self, name: str) -> Place | None:
        for _ in self.places():
            pass
        return self._places.get(name)

    def _add(self, name: str, size: int) -> Place | None:
        data = name.encode()
        with self._mutex:
            if place := self._find(name):  # another process has added the name
                return place
            used, given = self._used()
            end = used + _ENTRY.size + len(data)
            if _HEAD + end > _NAMES or given + size > CELLS:
                _log.warning("no room in the memory shared by the workers for another metric: %s", name)
                return None
            _ENTRY.pack_into(self._names.data, _HEAD + used, given, size, len(data))
            self._names.data[_HEAD + used + _ENTRY.size : _HEAD + end] = data
            self._names.words[0] = (given + size) << 32 | end
        return Place(name, given, size)

    def close(self, *, wipe: bool = False) -> None:
        """Release the row. With `wipe`, which only the last process may use, reset all rows."""
        if wipe:
            for row in self.rows().values():
                row[: self._used()[1]] = memoryview(bytes(8 * self._used()[1])).cast("d")
            self._names.words[0] = 0
        self._state.resign(_row(self.number))


def _row(number: int) -> str:
    return f"figures of {number}"
