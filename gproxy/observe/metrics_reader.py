"""The reading of metrics: what all processes have counted in the shared memory, added up."""

from collections.abc import Collection, Iterable, Sequence
from math import isnan, nan
from operator import add
from typing import Final, NamedTuple

from gproxy.observe.buckets import Buckets
from gproxy.observe.metric_catalogue import Catalogue, Key
from gproxy.observe.metric_families import Family
from gproxy.state.shared.counters import CountersView
from gproxy.state.shared.memory import SharedState

#: The value of a series that its process has removed.
REMOVED: Final = nan


class Row(NamedTuple):
    """The reading of a series. `cells[0]` is its value, or a histogram's sum, followed by its inner buckets."""

    name: str
    family: Family
    labels: tuple[str, ...]
    cells: list[float]
    buckets: Buckets

    @property
    def value(self) -> float:
        """The value; a histogram's sum of all observations."""
        return self.cells[0]

    @property
    def bounds(self) -> tuple[float, ...]:
        """The upper bounds of a histogram's buckets on the page."""
        return self.buckets.public

    @property
    def counts(self) -> list[float]:
        """The observations in each bucket on the page, those above the last bound at the end."""
        return self.buckets.fold(self.cells[1:])

    def percentile(self, share: float) -> float | None:
        """Return the duration that this share of a histogram's observations does not exceed; None without any."""
        return self.buckets.percentile(self.cells[1:], share)


class MetricsReader:
    """The metrics of all processes, for one that counts nothing itself, such as the monitor."""

    def __init__(self, state: SharedState, bounds: Sequence[float]) -> None:
        self._state = state
        self._catalogue = Catalogue(bounds)
        self._view: CountersView | None = None
        #: PERF: the keys of the last reading, sorted: mostly the next one has the same.
        self._order: list[Key] = []

    def use(self, bounds: Sequence[float]) -> None:
        """Read the histograms with these buckets, those of a new generation, and its own metrics of handlers."""
        self._catalogue = Catalogue(bounds)

    def read(self) -> list[Row]:
        """Return the rows of all processes, sorted; counters include ended processes."""
        self._view = self._view or CountersView.of(self._state)
        if self._view is None:
            return []
        reading = sum_up(self._view, self._catalogue)
        if len(self._order) != len(reading) or not all(map(reading.__contains__, self._order)):
            self._order = sorted(reading)
        return rows(reading, self._catalogue, self._order)


def rows(reading: dict[Key, list[float]], catalogue: Catalogue, order: Iterable[Key] | None = None) -> list[Row]:
    """Return the rows of a reading in the `order` of its keys, or sorted."""
    kinds = {name: (family, catalogue.buckets_of(name)) for name, family in catalogue.families.items()}
    found = []
    for key in sorted(reading) if order is None else order:
        family, buckets = kinds[key[0]]
        found.append(Row(key[0], family, key[1], reading[key], buckets))
    return found


def sum_up(view: CountersView, catalogue: Catalogue) -> dict[Key, list[float]]:
    """Return the values of all series, each made of those of all processes."""
    places = list(view.places())
    catalogue.learn(place.name for place in places)
    living = view.rows(living=True)
    workers = {str(number + 1) for number in living}
    kinds = _kinds(view, living.values(), catalogue)
    reading: dict[Key, list[float]] = {}
    for name, start, size in places:
        if (key := catalogue.parse(name)) is None:
            continue
        expected, is_of_worker, sums = kinds[key[0]]
        if size != expected or (is_of_worker and key[1][-1] not in workers):
            continue
        if sums is None:
            cells = [max((row[start] for row in living.values()), default=0.0)]
        else:
            cells = sums[start : start + size]
        if not isnan(cells[0]):
            reading[key] = cells
    return reading


def _kinds(
    view: CountersView, living: "Collection[memoryview[float]]", catalogue: Catalogue
) -> dict[str, tuple[int, bool, list[float] | None]]:
    """Return for each family the cells of a series, whether a series is of one worker, and the sums of all cells.

    The sums are those of all processes, or of living ones; None: of several values the highest one counts.
    PERF: rows are added up as a whole: a gateway with 200 routes and 1,000 backends has 6,000 series in 30,000 cells.
    """
    rows = view.rows().values()
    totals = _added(rows, view.cells_used)
    present = totals if len(living) == len(rows) else _added(living, view.cells_used)
    return {
        name: (
            catalogue.cells_of(name),
            family.labels[-1:] == ("worker",),
            None if family.merge == "max" else present if family.is_sampled else totals,
        )
        for name, family in catalogue.families.items()
    }


def _added(parts: "Iterable[memoryview[float]]", size: int) -> list[float]:
    """Return the first cells of several rows, added up."""
    sums = [0.0] * size
    for part in parts:
        sums = list(map(add, sums, part[:size].tolist()))
    return sums
