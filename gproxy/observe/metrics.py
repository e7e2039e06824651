"""The metrics of a process: plain numbers, added up when they are read.

A series is a few cells. In a process that serves alone they are private memory; with other workers or a monitor they
are the process's own cells in the shared memory, and a reader adds up the cells of all.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from time import monotonic
from typing import Final, NamedTuple

import gevent

from gproxy.config.sections.metrics import MetricsSettings
from gproxy.observe.buckets import Buckets
from gproxy.observe.metric_catalogue import Catalogue, Key
from gproxy.observe.metric_families import Family
from gproxy.observe.metrics_reader import REMOVED, Row, rows, sum_up
from gproxy.state.shared.counters import CELLS, SharedCounters
from gproxy.state.shared.memory import SharedState

#: Seconds between two samples of the watched values while other processes may read them.
_EVERY: Final = 0.25
#: Seconds after which the series of what is gone leave, such as those of a backend that DNS removed.
EXPIRES_AFTER: Final = 600.0
#: The most combinations of labels that are remembered as dropped; further ones count at each use.
_MOST_REMEMBERED: Final = 10_000


class Series:
    """A series: one combination of labels. `cells[0]` is its value, or a histogram's sum, followed by its buckets."""

    __slots__ = ("_bounds", "cells", "inherited", "labels", "name")

    def __init__(self, name: str, labels: tuple[str, ...], catalogue: Catalogue) -> None:
        self.name = name
        self.labels = labels
        self._bounds = catalogue.buckets_of(name).inner
        self.cells: array[float] | memoryview[float] = array("d", bytes(8 * catalogue.cells_of(name)))
        #: What an ended process has counted in these cells of the shared memory.
        self.inherited: Sequence[float] = ()

    def observe(self, seconds: float) -> None:
        """Add a duration to a histogram."""
        cells = self.cells
        cells[0] += seconds
        cells[bisect_left(self._bounds, seconds) + 1] += 1

    def own(self) -> list[float]:
        """Return the cells as this process alone has counted them."""
        return [now - before for now, before in zip_longest(self.cells, self.inherited, fillvalue=0.0)]


class Watch(NamedTuple):
    """A series that follows a number. `look` reads it."""

    name: str
    labels: tuple[str, ...]
    look: Callable[[], None]


class Metrics:
    """All series of a process, and the watched functions that fill some of them."""

    def __init__(self, settings: MetricsSettings | None = None) -> None:
        settings = settings or MetricsSettings()
        #: True if a handler exposes the metrics or a monitor reads them; otherwise requests count nothing.
        self.wanted = False
        #: The number of combinations of labels beyond `max_series`.
        self.dropped = 0
        self._most = settings.max_series
        self._catalogue = catalogue = Catalogue(settings.buckets)
        self._families = catalogue.families
        #: The declarations of handlers, as names of the shared counters.
        self._declared: list[str] = []
        self._series: dict[Key, Series] = {}
        self._size = 0
        #: The combinations of labels beyond `max_series` so far, each of which counts once.
        self._dropped: set[Key] = set()
        self._watched: list[Watch] = []
        #: Watches of what is gone, with the times at which they end.
        self._expiring: list[tuple[float, list[Watch]]] = []
        self.clock: Callable[[], float] = monotonic
        self._counters: SharedCounters | None = None
        self._is_monitored = False
        self._sampler: gevent.Greenlet | None = None
        self._lag = 0.0

    @property
    def worker(self) -> str:
        """The value of the label `worker` for this process."""
        return str(self._counters.number + 1 if self._counters else 1)

    def series(self, name: str, *labels: str) -> Series:
        """Return the series of a family with these label values; beyond the limit, that of `other`."""
        return self._series.get((name, labels)) or self._add((name, labels))

    def _add(self, key: Key) -> Series:
        name, labels = key
        if len(self._series) >= self._most or self._size >= CELLS:
            self._drop(key)
            key = name, self._families[name].other(labels)
            if key in self._series:
                return self._series[key]
        series = self._series[key] = Series(*key, self._catalogue)
        self._size += len(series.cells)
        self._place(series)
        return series

    def _drop(self, key: Key) -> None:
        """Count a combination of labels that has no series, once."""
        if key not in self._dropped:
            self.dropped += 1
            if len(self._dropped) < _MOST_REMEMBERED:
                self._dropped.add(key)

    def declare(self, name: str, family: Family, bounds: Sequence[float] = ()) -> None:
        """Add a family of a handler. Raises ValueError if another one has its name."""
        declaration = self._catalogue.declare(name, family, bounds)
        if declaration not in self._declared:
            self._declared.append(declaration)
            if self._counters is not None:
                self._counters.cells(declaration, 0)

    def has_room(self, name: str, labels: tuple[str, ...], most: int) -> bool:
        """Return whether some process has this series, or the family has fewer than `most` in all of them together."""
        keys = {key for key in self._series if key[0] == name}
        if self._counters is not None:
            found = (self._catalogue.parse(place.name) for place in self._counters.places())
            keys |= {key for key in found if key and key[0] == name}
        return (name, labels) in keys or len(keys) < most

    def watch(self, name: str, labels: tuple[str, ...], read: Callable[[], float]) -> Watch:
        """Let the series follow `read`, which returns a gauge's value, or a counter's total in this process."""
        follows = self._follow_gauge if self._families[name].is_sampled else self._follow_counter
        watch = Watch(name, labels, follows(name, labels, read))
        self._watched.append(watch)
        return watch

    def _follow_gauge(self, name: str, labels: tuple[str, ...], read: Callable[[], float]) -> Callable[[], None]:
        return lambda: self._set(name, labels, read())

    def _follow_counter(self, name: str, labels: tuple[str, ...], read: Callable[[], float]) -> Callable[[], None]:
        before = 0.0

        def follow() -> None:
            nonlocal before
            now = read()
            self.series(name, *labels).cells[0] += now - before
            before = now

        return follow

    def watch_group(self, name: str, read: Callable[[], Mapping[tuple[str, ...], float]]) -> None:
        """Let all series of a gauge follow `read`, which returns their values by labels; those without one are 0."""
        shown: set[tuple[str, ...]] = set()

        def follow() -> None:
            found = read()
            for labels in shown - found.keys():
                self._set(name, labels, 0.0)
            for labels, value in found.items():
                self._set(name, labels, value)
            shown.clear()
            shown.update(found)

        self._watched.append(Watch(name, (), follow))

    def expire(self, watches: Iterable[Watch]) -> None:
        """Let these series leave after ten minutes: what they belong to is gone."""
        self._expiring.append((self.clock() + EXPIRES_AFTER, list(watches)))

    def _end_expired(self) -> None:
        while self._expiring and self._expiring[0][0] <= self.clock():
            for watch in self._expiring.pop(0)[1]:
                self._watched.remove(watch)
                if not any((one.name, one.labels) == (watch.name, watch.labels) for one in self._watched):
                    self._remove((watch.name, self._named(watch.name, watch.labels)))

    def _remove(self, key: Key) -> None:
        """Remove a series. In the shared memory it is marked, so that no process shows it."""
        series = self._series.pop(key, None)
        if series is not None:
            self._size -= len(series.cells)
            if self._counters is not None:
                series.cells[0] = REMOVED

    def _named(self, name: str, labels: tuple[str, ...]) -> tuple[str, ...]:
        return (*labels, self.worker) if "worker" in self._families[name].labels else labels

    def _set(self, name: str, labels: tuple[str, ...], value: float) -> None:
        named = self._named(name, labels)
        series = self.series(name, *named)
        if series.labels == named:
            series.cells[0] = value
        elif self._families[name].merge == "max":
            series.cells[0] = max(series.cells[0], value)
        else:
            series.cells[0] += value

    def start(self) -> None:
        """Begin to count and to sample, for a handler that exposes the metrics, or for a monitor."""
        if self.wanted:
            return
        self.wanted = True
        began = monotonic()
        self.series("gproxy_workers_started_total").cells[0] += 1
        self.watch("gproxy_series_dropped_total", (), lambda: self.dropped)
        self.watch("gproxy_workers", (), lambda: 1)
        self.watch("gproxy_worker_uptime_seconds", (), lambda: monotonic() - began)
        self.watch("gproxy_worker_lag_seconds", (), lambda: self._lag)
        self._sampler = gevent.spawn(self._keep_sampling)

    def stop(self) -> None:
        """Stop sampling, after a last sample that other processes can read."""
        if self._sampler is not None:
            self._sampler.kill()
            self._sampler = None
            self.sample()

    def _keep_sampling(self) -> None:
        while True:
            due = monotonic() + _EVERY
            gevent.sleep(_EVERY)
            self._lag = max(0.0, monotonic() - due)
            if self._counters is not None:
                self.sample()

    def sample(self) -> None:
        """Read all watched values into their series."""
        if self._dropped:
            for (name, labels), series in self._series.items():
                if self._families[name].is_sampled and labels == self._families[name].other(labels):
                    series.cells[0] = 0.0
        if self._expiring:
            self._end_expired()
        for watch in self._watched:
            watch.look()

    def read(self) -> list[Row]:
        """Return the rows of all processes, sorted; counters include ended processes."""
        self.sample()
        if self._counters is not None:
            return rows(sum_up(self._counters, self._catalogue), self._catalogue)
        return rows({key: list(series.cells) for key, series in self._series.items()}, self._catalogue)

    def own(self, name: str) -> tuple[dict[tuple[str, ...], list[float]], Buckets]:
        """Return the cells of a family by labels, as this process alone has counted them, and the buckets."""
        found = {labels: series.own() for (family, labels), series in list(self._series.items()) if family == name}
        return found, self._catalogue.buckets_of(name)

    def share(self, state: SharedState) -> None:
        """Move the series into the shared memory; without room there, each process shows only its own."""
        if self._counters is not None or (counters := SharedCounters.open(state)) is None:
            return
        for place in counters.places():  # the samples of the row's previous owner are out of date
            if (key := self._catalogue.parse(place.name)) and self._families[key[0]].is_sampled:
                counters.own(place)[0] = 0.0
        self._forget_sampled()
        self._counters = counters
        for declaration in self._declared:
            counters.cells(declaration, 0)
        for series in self._series.values():
            self._place(series)
        self.sample()

    def share_with_monitor(self, state: SharedState) -> None:
        """Move the series into the shared memory for good: a monitor reads them there."""
        self._is_monitored = True
        self.share(state)

    def _place(self, series: Series) -> None:
        if self._counters is None:
            return
        name = self._catalogue.shared_name((series.name, series.labels))
        cells = self._counters.cells(name, len(series.cells))
        if cells is None:
            self.dropped += 1
        else:
            self._counters.revive(name)
            series.inherited = cells.tolist()
            before, series.cells = series.cells, cells
            for place, value in enumerate(before):
                cells[place] += value

    def unshare(self, _: SharedState) -> None:
        """Move the sums of all processes into this one, the last one left; with a monitor do nothing."""
        if self._counters is None or self._is_monitored:
            return
        counters, self._counters = self._counters, None
        self._forget_sampled()
        for (name, labels), cells in sum_up(counters, self._catalogue).items():
            if not self._families[name].is_sampled:
                self.series(name, *labels).cells = array("d", cells)
        counters.close(wipe=True)

    def _forget_sampled(self) -> None:
        """Drop what the next sample sets, some of it with another `worker` label."""
        self._series = {key: series for key, series in self._series.items() if not self._families[key[0]].is_sampled}
        self._size = sum(len(series.cells) for series in self._series.values())
