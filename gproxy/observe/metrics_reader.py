"""The reading of metrics: what all processes have counted in the shared memory, added up."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from gproxy.observe.buckets import Buckets
from gproxy.observe.metric_catalogue import Catalogue, Key
from gproxy.observe.metric_families import Family
from gproxy.state.shared.counters import CountersView
from gproxy.state.shared.memory import SharedState

#: The value of a series that its process has removed.
REMOVED: Final = math.nan


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

    def use(self, bounds: Sequence[float]) -> None:
        """Read the histograms with these buckets, those of a new generation, and its own metrics of handlers."""
        self._catalogue = Catalogue(bounds)

    def read(self) -> list[Row]:
        """Return the rows of all processes, sorted; counters include ended processes."""
        self._view = self._view or CountersView.of(self._state)
        return rows(sum_up(self._view, self._catalogue), self._catalogue) if self._view is not None else []


def rows(reading: dict[Key, list[float]], catalogue: Catalogue) -> list[Row]:
    """Return the rows of a reading, sorted."""
    families, buckets = catalogue.families, catalogue.buckets_of
    return [
        Row(name, families[name], labels, cells, buckets(name)) for (name, labels), cells in sorted(reading.items())
    ]


def sum_up(view: CountersView, catalogue: Catalogue) -> dict[Key, list[float]]:
    """Return the values of all series, each made of those of all processes."""
    all_rows, living = view.rows(), view.rows(living=True)
    workers = {str(number + 1) for number in living}
    reading: dict[Key, list[float]] = {}
    catalogue.learn(place.name for place in view.places())
    for place in view.places():
        if not (key := catalogue.parse(place.name)) or place.size != catalogue.cells_of(key[0]):
            continue
        family = catalogue.families[key[0]]
        if family.labels[-1:] == ("worker",) and key[1][-1] not in workers:
            continue
        chosen = living if family.is_sampled else all_rows
        parts = [list(row[place.start : place.start + place.size]) for row in chosen.values()]
        cells = _merged(parts, family) if parts else [0.0] * place.size
        if not math.isnan(cells[0]):
            reading[key] = cells
    return reading


def _merged(parts: Sequence[list[float]], family: Family) -> list[float]:
    """Return one value for each cell, from the cells of one or more processes."""
    if len(parts) == 1:
        return parts[0]
    merge = max if family.merge == "max" else sum
    return [merge(values) for values in zip(*parts, strict=True)]
