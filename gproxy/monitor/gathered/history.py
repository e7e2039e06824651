"""The history of the figures: samples in arrays of a fixed size. It survives a reload, as the monitor does."""

import math
from array import array
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

#: The most series, and the most samples of each: 500 arrays of 1,800 doubles have 7.2 MB.
MOST_SERIES: Final = 500
MOST_SAMPLES: Final = 1800
_NONE: Final = math.nan


class Figure(NamedTuple):
    """The name of a series: what it counts, and about what: the gateway, or a route, an upstream or a reason (`of`)."""

    name: str
    about: str = "gateway"
    of: str = ""


class History:
    """The samples of the last `seconds`. Each is the mean of `interval` seconds: one, or more for a long history.

    Beyond MOST_SERIES, further series are omitted and counted.
    """

    def __init__(self, seconds: float) -> None:
        self.interval = max(1.0, seconds / MOST_SAMPLES)
        self._size = math.ceil(seconds / self.interval)
        self._times = self._column()
        self._series: dict[Figure, array[float]] = {}
        #: The number of samples that were ever added.
        self._count = 0
        self._gathered: dict[Figure, tuple[float, int]] = {}
        self._due = 0.0
        #: The names of the series that found no room.
        self._omitted: set[Figure] = set()

    @property
    def omitted(self) -> int:
        """The number of series without room, at least."""
        return len(self._omitted)

    def _column(self) -> "array[float]":
        return array("d", [_NONE]) * self._size

    def add(self, now: float, values: Mapping[Figure, float | None]) -> None:
        """Add the values of one second that ends at this Unix time; None and absent ones leave a gap."""
        for figure, value in values.items():
            if value is not None:
                total, count = self._gathered.get(figure, (0.0, 0))
                self._gathered[figure] = total + value, count + 1
        if now < self._due:
            return
        self._due = now + self.interval - 0.5
        place = self._count % self._size
        self._count += 1
        self._times[place] = now
        for series in self._series.values():
            series[place] = _NONE
        for figure, (total, count) in self._gathered.items():
            if (column := self._series_of(figure)) is not None:
                column[place] = total / count
        self._gathered.clear()

    def _series_of(self, figure: Figure) -> "array[float] | None":
        column = self._series.get(figure)
        if column is None and len(self._series) < MOST_SERIES:
            column = self._series[figure] = self._column()
        elif column is None and len(self._omitted) < MOST_SERIES:
            self._omitted.add(figure)
        return column

    def times(self, since: float = 0.0) -> list[float]:
        """Return the Unix times of the samples after that one, oldest first."""
        return [self._times[place] for place in self._places(since)]

    def read(self, about: str | None = None, since: float = 0.0) -> Iterator[tuple[Figure, list[float | None]]]:
        """Yield the series about this, or all, with their values after that Unix time; None is a gap."""
        places = list(self._places(since))
        for figure, column in self._series.items():
            if about is None or figure.about == about:
                yield figure, [None if math.isnan(value := column[place]) else round(value, 6) for place in places]

    def of(self, name: str, since: float = 0.0) -> list[float | None]:
        """Return the values of one series about the gateway."""
        column = self._series.get(Figure(name))
        places = self._places(since)
        return [None if column is None or math.isnan(value := column[place]) else value for place in places]

    def _places(self, since: float) -> Iterator[int]:
        for number in range(max(0, self._count - self._size), self._count):
            if self._times[number % self._size] > since:
                yield number % self._size

    def describe(self) -> dict[str, Any]:
        """Return the facts of the history itself."""
        return {"interval": self.interval, "series": len(self._series), "omitted": self.omitted}
