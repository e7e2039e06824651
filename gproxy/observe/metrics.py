"""What is counted, for Prometheus: plain numbers, added up when somebody reads them.

A series is a few cells. A process that serves alone has them to itself; with others beside it they are its own cells
in the shared memory, and whoever is asked adds up what all have counted.
"""

import json
from array import array
from bisect import bisect_left
from collections.abc import Callable
from time import monotonic
from typing import Final, Literal, NamedTuple

import gevent

from gproxy.state.shared.counters import CELLS, SharedCounters
from gproxy.state.shared.memory import SharedState

#: The upper bounds of a duration's buckets, in seconds.
BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: How often what is not counted on the spot is looked at while others may ask for it, in seconds.
_EVERY: Final = 0.25


class Family(NamedTuple):
    """Series of one name. A gauge is what all living processes have together; a counter includes those that ended."""

    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str

    @property
    def bounds(self) -> tuple[float, ...]:
        """The upper bounds of a histogram's buckets, in seconds."""
        return BOUNDS


_BACKEND: Final = ("upstream", "backend")
FAMILIES: Final[dict[str, Family]] = {
    "gproxy_requests_total": Family("counter", ("route", "status", "reason"), "requests that have been answered"),
    "gproxy_request_duration_seconds": Family(
        "histogram", ("route",), "from the first byte of the request to the last of the response"
    ),
    "gproxy_request_bytes_total": Family("counter", ("route",), "bytes of request bodies received"),
    "gproxy_response_bytes_total": Family("counter", ("route",), "bytes of response bodies sent"),
    "gproxy_retries_total": Family("counter", ("route",), "attempts beyond a request's first"),
    "gproxy_requests_in_flight": Family("gauge", (), "requests that are being handled"),
    "gproxy_connections": Family("gauge", (), "client connections that are open"),
    "gproxy_backend_attempts_total": Family("counter", _BACKEND, "requests sent to the backend"),
    "gproxy_backend_failures_total": Family("counter", _BACKEND, "of these, those that failed"),
    "gproxy_backend_ejections_total": Family("counter", _BACKEND, "how often it was left out after failures"),
    "gproxy_backend_duration_seconds": Family(
        "histogram", ("upstream",), "from sending a request to the head of its response, or to its failure"
    ),
    "gproxy_backend_active": Family("gauge", _BACKEND, "requests that the backend is busy with"),
    "gproxy_backend_healthy": Family("gauge", (*_BACKEND, "worker"), "1 if it takes part, as this worker sees it"),
    "gproxy_rate_limited_total": Family("counter", ("handler",), "requests refused by the rate limit"),
    "gproxy_rate_limit_evictions_total": Family(
        "counter", ("handler",), "clients forgotten early because there were too many"
    ),
    "gproxy_store_round_trips_total": Family("counter", (), "what was asked of Redis"),
    "gproxy_store_failures_total": Family("counter", (), "of these, those that failed"),
    "gproxy_store_seconds_total": Family("counter", (), "how long all of them took"),
    "gproxy_store_up": Family("gauge", ("worker",), "1 if Redis can be had, as this worker sees it"),
    "gproxy_workers": Family("gauge", (), "processes that serve, those that drain among them"),
    "gproxy_workers_started_total": Family("counter", (), "processes that began to serve"),
    "gproxy_worker_uptime_seconds": Family("gauge", ("worker",), "since the process began to serve"),
    "gproxy_worker_memory_bytes": Family("gauge", ("worker",), "resident memory of the process"),
    "gproxy_worker_lag_seconds": Family("gauge", ("worker",), "how late the process's loop is"),
}


class Row(NamedTuple):
    """What a series has come to. `cells[0]` is its value, or a histogram's sum, followed by its buckets."""

    name: str
    family: Family
    labels: tuple[str, ...]
    cells: list[float]


class Series:
    """One combination of labels. `cells[0]` is its value, or a histogram's sum, followed by its buckets."""

    __slots__ = ("cells", "labels", "name")

    def __init__(self, name: str, labels: tuple[str, ...]) -> None:
        self.name = name
        self.labels = labels
        self.cells: array[float] | memoryview[float] = array("d", bytes(8 * size_of(name)))

    def observe(self, seconds: float) -> None:
        """One more duration, of a histogram."""
        cells = self.cells
        cells[0] += seconds
        cells[bisect_left(BOUNDS, seconds) + 1] += 1


def size_of(name: str) -> int:
    """How many cells a series of that family has."""
    return len(BOUNDS) + 2 if FAMILIES[name].kind == "histogram" else 1


#: A family's name and the values of its labels -> what the cells have come to.
Reading = dict[tuple[str, tuple[str, ...]], list[float]]


class Metrics:
    """All series of a process, and what must be looked at to fill them."""

    def __init__(self) -> None:
        #: Does anybody want to read them? If not, nothing is counted by requests.
        self.wanted = False
        self._series: dict[tuple[str, tuple[str, ...]], Series] = {}
        self._size = 0
        self._watched: list[Callable[[], None]] = []
        self._figures: SharedCounters | None = None
        self._sampler: gevent.Greenlet | None = None
        self._lag = 0.0

    @property
    def worker(self) -> str:
        """Which of the processes this one is, as the labels call it."""
        return str(self._figures.number + 1 if self._figures else 1)

    def series(self, name: str, *labels: str) -> Series:
        """The series of a family with these values for its labels. Too many of them are counted, but not shown."""
        series = self._series.get((name, labels))
        if series is None:
            series = Series(name, labels)
            self._size += len(series.cells)
            if self._size < CELLS:
                self._series[name, labels] = series
                self._place(series)
        return series

    def watch(self, name: str, labels: tuple[str, ...], read: Callable[[], float]) -> None:
        """Have the series follow what `read` says: a gauge's value, or what a counter has come to in this process."""
        if FAMILIES[name].kind == "gauge":
            self._watched.append(lambda: self._set(name, labels, read()))
            return
        before = 0.0

        def follow() -> None:
            nonlocal before
            now = read()
            self.series(name, *labels).cells[0] += now - before
            before = now

        self._watched.append(follow)

    def _set(self, name: str, labels: tuple[str, ...], value: float) -> None:
        named = (*labels, self.worker) if "worker" in FAMILIES[name].labels else labels
        self.series(name, *named).cells[0] = value

    def start(self) -> None:
        """Somebody will ask."""
        if self.wanted:
            return
        self.wanted = True
        began = monotonic()
        self.series("gproxy_workers_started_total").cells[0] += 1
        self.watch("gproxy_workers", (), lambda: 1)
        self.watch("gproxy_worker_uptime_seconds", (), lambda: monotonic() - began)
        self.watch("gproxy_worker_lag_seconds", (), lambda: self._lag)
        self._sampler = gevent.spawn(self._keep_sampling)

    def stop(self) -> None:
        """The last figures stay where others see them."""
        if self._sampler is not None:
            self._sampler.kill()
            self.sample()

    def _keep_sampling(self) -> None:
        while True:
            due = monotonic() + _EVERY
            gevent.sleep(_EVERY)
            self._lag = max(0.0, monotonic() - due)
            if self._figures is not None:
                self.sample()

    def sample(self) -> None:
        """Look at all that is watched."""
        for look in self._watched:
            look()

    def read(self) -> list[Row]:
        """Return all that is counted by all processes, sorted; ended processes count, except in gauges."""
        self.sample()
        if self._figures is not None:
            reading = _added_up(self._figures)
        else:
            reading = {key: list(series.cells) for key, series in self._series.items()}
        return [Row(name, FAMILIES[name], labels, cells) for (name, labels), cells in sorted(reading.items())]

    def share(self, state: SharedState) -> None:
        """What was counted goes where all can see it; without room for that each process shows its own."""
        if (figures := SharedCounters.open(state)) is None:
            return
        for place in figures.places():  # what the row's last owner had at the moment is over
            if (key := _known(place.name)) and FAMILIES[key[0]].kind == "gauge":
                figures.own(place)[0] = 0.0
        self._forget_gauges()
        self._figures = figures
        for series in self._series.values():
            self._place(series)
        self.sample()

    def _place(self, series: Series) -> None:
        if self._figures is None:
            return
        cells = self._figures.cells(json.dumps((series.name, *series.labels)), len(series.cells))
        if cells is not None:
            before, series.cells = series.cells, cells
            for place, value in enumerate(before):
                cells[place] += value

    def unshare(self, _: SharedState) -> None:
        """What all have counted comes back here; nobody else is left."""
        if self._figures is None:
            return
        figures, self._figures = self._figures, None
        self._forget_gauges()
        for (name, labels), cells in _added_up(figures).items():
            if FAMILIES[name].kind != "gauge":
                self.series(name, *labels).cells = array("d", cells)
        figures.close(wipe=True)

    def _forget_gauges(self) -> None:
        """They are sampled anew, some under another name."""
        self._series = {key: series for key, series in self._series.items() if FAMILIES[key[0]].kind != "gauge"}
        self._size = sum(len(series.cells) for series in self._series.values())


def _added_up(figures: SharedCounters) -> Reading:
    everybody, living = figures.rows(), figures.rows(living=True)
    workers = {str(number + 1) for number in living}
    reading: Reading = {}
    for place in figures.places():
        if not (key := _known(place.name)):
            continue
        kind, labels, _ = FAMILIES[key[0]]
        if labels[-1:] == ("worker",) and key[1][-1] not in workers:
            continue
        rows = living if kind == "gauge" else everybody
        parts = (row[place.start : place.start + place.size].tolist() for row in rows.values())
        reading[key] = [sum(cells) for cells in zip(*parts, strict=True)]
    return reading


def _known(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Whose cells these are; None if another version counts by that name what this one does not know."""
    family, *labels = json.loads(name)
    known = family in FAMILIES and len(FAMILIES[family].labels) == len(labels)
    return (family, tuple(labels)) if known else None
