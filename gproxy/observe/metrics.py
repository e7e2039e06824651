"""The metrics, for Prometheus: plain numbers, added up when they are read.

A series is a few cells. In a process that serves alone they are private memory; with other workers they are the
process's own cells in the shared memory, and the worker that is scraped adds up the cells of all.
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
#: Seconds between two samples of the watched values while other workers may be scraped.
_EVERY: Final = 0.25


class Family(NamedTuple):
    """All series of one name. A gauge covers live processes; a counter includes ended ones."""

    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    #: What makes one value of those of all processes: their sum, or the highest one if all report the same thing.
    merge: Literal["sum", "max"] = "sum"

    @property
    def is_sampled(self) -> bool:
        """True if each sample sets the value of this process anew, so that nothing of ended processes is kept."""
        return self.kind == "gauge" or self.merge == "max"

    @property
    def bounds(self) -> tuple[float, ...]:
        """The upper bounds of a histogram's buckets, in seconds."""
        return BOUNDS


_BACKEND: Final = ("upstream", "backend")
FAMILIES: Final[dict[str, Family]] = {
    "gproxy_requests_total": Family("counter", ("route", "status", "reason"), "requests answered"),
    "gproxy_request_duration_seconds": Family(
        "histogram", ("route",), "seconds from the first byte of the request to the last of the response"
    ),
    "gproxy_request_bytes_total": Family("counter", ("route",), "bytes of request bodies received"),
    "gproxy_response_bytes_total": Family("counter", ("route",), "bytes of response bodies sent"),
    "gproxy_retries_total": Family("counter", ("route",), "attempts after a request's first"),
    "gproxy_requests_in_flight": Family("gauge", (), "requests in progress"),
    "gproxy_buffer_bytes": Family("gauge", (), "bytes kept in memory for slow clients"),
    "gproxy_connections": Family("gauge", (), "open client connections"),
    "gproxy_backend_attempts_total": Family("counter", _BACKEND, "requests sent to the backend"),
    "gproxy_backend_failures_total": Family("counter", _BACKEND, "requests sent to the backend that failed"),
    "gproxy_backend_ejections_total": Family("counter", _BACKEND, "ejections of the backend after failures"),
    "gproxy_backend_duration_seconds": Family(
        "histogram", ("upstream",), "seconds from sending a request to the head of its response, or to its failure"
    ),
    "gproxy_backend_active": Family("gauge", _BACKEND, "requests in progress at the backend"),
    "gproxy_backend_healthy": Family("gauge", (*_BACKEND, "worker"), "1 if the worker may pick the backend, else 0"),
    "gproxy_handler_duration_seconds": Family(
        "histogram", ("handler",), "seconds in the handler itself, without the rest of its chain; of some requests"
    ),
    "gproxy_rate_limited_total": Family("counter", ("handler",), "requests rejected by the rate limit"),
    "gproxy_rate_limit_delayed_total": Family("counter", ("handler",), "requests that waited for their turn"),
    "gproxy_rate_limit_evictions_total": Family(
        "counter", ("handler",), "clients evicted early because there were too many"
    ),
    "gproxy_concurrency_limited_total": Family(
        "counter", ("handler",), "requests rejected by the limit of concurrent requests"
    ),
    "gproxy_concurrency_uncounted_total": Family(
        "counter", ("handler",), "requests admitted uncounted because too many clients had requests under way"
    ),
    "gproxy_auth_total": Family(
        "counter", ("handler", "outcome"), "requests judged by the identity handler, by outcome"
    ),
    "gproxy_auth_asked_total": Family(
        "counter", ("handler", "outcome"), "outside calls of the identity handler, by outcome: ok, rejected, failed"
    ),
    "gproxy_auth_asked_seconds": Family("histogram", ("handler",), "seconds of outside calls of the identity handler"),
    "gproxy_keys": Family("gauge", ("issuer",), "usable keys in the key set of the issuer", "max"),
    "gproxy_keys_age_seconds": Family(
        "gauge", ("issuer",), "seconds since the key set was fetched; that of the worker with the oldest set", "max"
    ),
    "gproxy_keys_fetches_total": Family("counter", ("issuer", "outcome"), "fetches of the key set, by outcome"),
    "gproxy_store_round_trips_total": Family("counter", (), "round trips to Redis"),
    "gproxy_store_failures_total": Family("counter", (), "round trips to Redis that failed"),
    "gproxy_store_seconds_total": Family("counter", (), "seconds spent in round trips to Redis"),
    "gproxy_store_up": Family("gauge", ("worker",), "1 if Redis is available to the worker, else 0"),
    "gproxy_log_lost_lines_total": Family("counter", (), "access lines lost, of each target"),
    "gproxy_workers": Family("gauge", (), "workers that serve, draining ones included"),
    "gproxy_workers_started_total": Family("counter", (), "workers that began to serve"),
    "gproxy_worker_uptime_seconds": Family("gauge", ("worker",), "seconds since the worker began to serve"),
    "gproxy_worker_memory_bytes": Family("gauge", ("worker",), "resident memory of the worker"),
    "gproxy_worker_lag_seconds": Family("gauge", ("worker",), "delay of the worker's event loop in seconds"),
    "gproxy_hub_lag_seconds": Family("histogram", (), "seconds by which the event loops of workers were late"),
    "gproxy_hub_blocked_total": Family(
        "counter", ("handler", "route"), "times that the handler has blocked an event loop for longer than block_log"
    ),
    "gproxy_hub_blocked_seconds_total": Family(
        "counter", ("handler", "route"), "seconds in which the handler has blocked an event loop"
    ),
    "gproxy_worker_cpu_seconds_total": Family("counter", ("worker",), "CPU time of the worker in seconds", "max"),
    "gproxy_open_fds": Family("gauge", ("worker",), "open file descriptors of the worker"),
    "gproxy_generation": Family("gauge", (), "number of the generation that serves", "max"),
    "gproxy_reloads_total": Family("counter", ("result",), "reloads since the start, by success or failure", "max"),
    "gproxy_last_reload_successful": Family("gauge", (), "1 if the last reload or the start succeeded, else 0", "max"),
    "gproxy_last_reload_success_timestamp_seconds": Family(
        "gauge", (), "Unix time of the last successful reload, or of the start", "max"
    ),
    "gproxy_certificate_expires_seconds": Family(
        "gauge", ("tls",), "Unix time at which the certificate of the [tls:NAME] expires", "max"
    ),
    "gproxy_build_info": Family("gauge", ("version", "python", "compiled"), "1; the labels name what runs", "max"),
}


class Row(NamedTuple):
    """The reading of a series. `cells[0]` is its value, or a histogram's sum, followed by its buckets."""

    name: str
    family: Family
    labels: tuple[str, ...]
    cells: list[float]


class Series:
    """A series: one combination of labels. `cells[0]` is its value, or a histogram's sum, followed by its buckets."""

    __slots__ = ("cells", "labels", "name")

    def __init__(self, name: str, labels: tuple[str, ...]) -> None:
        self.name = name
        self.labels = labels
        self.cells: array[float] | memoryview[float] = array("d", bytes(8 * size_of(name)))

    def observe(self, seconds: float) -> None:
        """Add a duration to a histogram."""
        cells = self.cells
        cells[0] += seconds
        cells[bisect_left(BOUNDS, seconds) + 1] += 1


def size_of(name: str) -> int:
    """Return the number of cells of a series of that family."""
    return len(BOUNDS) + 2 if FAMILIES[name].kind == "histogram" else 1


#: A family's name and the values of its labels -> the values of the cells.
Reading = dict[tuple[str, tuple[str, ...]], list[float]]


class Metrics:
    """All series of a process, and the watched functions that fill some of them."""

    def __init__(self) -> None:
        #: True if a handler exposes the metrics; otherwise requests count nothing.
        self.wanted = False
        self._series: dict[tuple[str, tuple[str, ...]], Series] = {}
        self._size = 0
        self._watched: list[Callable[[], None]] = []
        self._counters: SharedCounters | None = None
        self._sampler: gevent.Greenlet | None = None
        self._lag = 0.0

    @property
    def worker(self) -> str:
        """The value of the label `worker` for this process."""
        return str(self._counters.number + 1 if self._counters else 1)

    def series(self, name: str, *labels: str) -> Series:
        """Return the series of a family with these label values; beyond the limit, one that is never read."""
        series = self._series.get((name, labels))
        if series is None:
            series = Series(name, labels)
            self._size += len(series.cells)
            if self._size < CELLS:
                self._series[name, labels] = series
                self._place(series)
        return series

    def watch(self, name: str, labels: tuple[str, ...], read: Callable[[], float]) -> None:
        """Let the series follow `read`, which returns a gauge's value, or a counter's total in this process."""
        if FAMILIES[name].is_sampled:
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
        """Begin to count and to sample, for a handler that exposes the metrics."""
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
        """Stop sampling, after a last sample that other workers can read."""
        if self._sampler is not None:
            self._sampler.kill()
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
        for look in self._watched:
            look()

    def read(self) -> list[Row]:
        """Return the rows of all processes, sorted; counters include ended processes."""
        self.sample()
        if self._counters is not None:
            return rows_of(self._counters)
        return _rows({key: list(series.cells) for key, series in self._series.items()})

    def share(self, state: SharedState) -> None:
        """Move the series into the shared memory; without room there, each process shows only its own."""
        if (counters := SharedCounters.open(state)) is None:
            return
        for place in counters.places():  # the samples of the row's previous owner are out of date
            if (key := _parse_key(place.name)) and FAMILIES[key[0]].is_sampled:
                counters.own(place)[0] = 0.0
        self._forget_sampled()
        self._counters = counters
        for series in self._series.values():
            self._place(series)
        self.sample()

    def _place(self, series: Series) -> None:
        if self._counters is None:
            return
        cells = self._counters.cells(json.dumps((series.name, *series.labels)), len(series.cells))
        if cells is not None:
            before, series.cells = series.cells, cells
            for place, value in enumerate(before):
                cells[place] += value

    def unshare(self, _: SharedState) -> None:
        """Move the sums of all processes into this one, the last one left."""
        if self._counters is None:
            return
        counters, self._counters = self._counters, None
        self._forget_sampled()
        for (name, labels), cells in _sum_up(counters).items():
            if not FAMILIES[name].is_sampled:
                self.series(name, *labels).cells = array("d", cells)
        counters.close(wipe=True)

    def _forget_sampled(self) -> None:
        """Drop what the next sample sets, some of it with another `worker` label."""
        self._series = {key: series for key, series in self._series.items() if not FAMILIES[key[0]].is_sampled}
        self._size = sum(len(series.cells) for series in self._series.values())


def rows_of(counters: SharedCounters) -> list[Row]:
    """Return the rows of all processes that count here, sorted; counters include ended processes."""
    return _rows(_sum_up(counters))


def _rows(reading: Reading) -> list[Row]:
    return [Row(name, FAMILIES[name], labels, cells) for (name, labels), cells in sorted(reading.items())]


def _sum_up(counters: SharedCounters) -> Reading:
    all_rows, living = counters.rows(), counters.rows(living=True)
    workers = {str(number + 1) for number in living}
    reading: Reading = {}
    for place in counters.places():
        if not (key := _parse_key(place.name)):
            continue
        family = FAMILIES[key[0]]
        if family.labels[-1:] == ("worker",) and key[1][-1] not in workers:
            continue
        rows = living if family.is_sampled else all_rows
        if not rows:
            continue  # no worker lives
        parts = (row[place.start : place.start + place.size].tolist() for row in rows.values())
        merge = max if family.merge == "max" else sum
        reading[key] = [merge(cells) for cells in zip(*parts, strict=True)]
    return reading


def _parse_key(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the family and labels of a shared counter; None if another version uses a name unknown here."""
    family, *labels = json.loads(name)
    known = family in FAMILIES and len(FAMILIES[family].labels) == len(labels)
    return (family, tuple(labels)) if known else None
