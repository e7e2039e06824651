"""The counters of all workers at one moment, their growth between two moments."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from operator import attrgetter

from gproxy.handlers.metrics import Row

Labels = tuple[str, ...]


class Reading:
    """The cells of all series, by family and label values. `when` is a monotonic time in seconds."""

    def __init__(self, when: float, cells: Mapping[str, Mapping[Labels, Sequence[float]]]) -> None:
        self.when = when
        self._cells = cells

    @classmethod
    def of(cls, when: float, rows: Iterable[Row], before: "Reading | None" = None) -> "Reading":
        """Return the reading of these rows. It shares the cells that have not changed with the reading before."""
        cells: dict[str, dict[Labels, Sequence[float]]] = {}
        for name, group in groupby(rows, key=attrgetter("name")):
            known = before.series(name) if before is not None else {}
            cells[name] = {
                row.labels: last if (last := known.get(row.labels)) == row.cells else row.cells for row in group
            }
        return cls(when, cells)

    def since(self, before: "Reading") -> "Reading":
        """Return the growth from an earlier reading to this one; `when` of the result is the seconds between both."""
        return Growth(self, before)

    def series(self, name: str) -> Mapping[Labels, Sequence[float]]:
        """Return the cells of a family by the values of its labels; empty if it has no series."""
        return self._cells.get(name, {})

    def total(self, name: str) -> float:
        """Return the sum of a family's series."""
        return sum(cells[0] for cells in self.series(name).values())

    def highest(self, name: str) -> float:
        """Return the highest value of a family's series; 0 without one."""
        return max((cells[0] for cells in self.series(name).values()), default=0.0)

    def by(self, name: str, label: int) -> dict[str, float]:
        """Return the sums of a family's series for each value of the label at this index."""
        sums: dict[str, float] = {}
        for labels, cells in self.series(name).items():
            sums[labels[label]] = sums.get(labels[label], 0.0) + cells[0]
        return sums

    def errors_by_route(self) -> dict[str, float]:
        """Return the responses with a status from 500, for each route."""
        errors: dict[str, float] = {}
        for (route, status, _), cells in self.series("gproxy_requests_total").items():
            if status >= "500":
                errors[route] = errors.get(route, 0.0) + cells[0]
        return errors


class Growth(Reading):
    """The growth from one reading to a later one. PERF: a family is compared when it is asked for; most never are."""

    def __init__(self, later: Reading, before: Reading) -> None:
        self._compared: dict[str, Mapping[Labels, Sequence[float]]] = {}
        super().__init__(later.when - before.when, self._compared)
        self._later = later
        self._before = before

    def series(self, name: str) -> Mapping[Labels, Sequence[float]]:
        """Return the growth of the cells of a family."""
        if name not in self._compared:
            before = self._before.series(name)
            series = self._later.series(name).items()
            self._compared[name] = {labels: _growth(cells, before.get(labels)) for labels, cells in series}
        return self._compared[name]


@lru_cache(8)
def _zeros(count: int) -> Sequence[float]:
    return (0.0,) * count


def _growth(now: Sequence[float], before: Sequence[float] | None) -> Sequence[float]:
    """Return how much the cells have grown; a counter that began anew has grown by its value."""
    if before is None or len(before) != len(now):
        return now
    if now is before or now == before:
        return _zeros(len(now))
    return [max(0.0, new - old) for new, old in zip(now, before, strict=True)]


def added(parts: Iterable[Sequence[float]]) -> Sequence[float]:
    """Return the cells of several histograms as those of one."""
    return [sum(cells) for cells in zip(*parts, strict=True)]
