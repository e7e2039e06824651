"""The figures of the gateway: once a second from the counters in the shared memory, without a question to a worker."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from gproxy.handlers.metrics import Family, Percentiles, Row
from gproxy.monitor.gathered.changes import Changes
from gproxy.monitor.gathered.history import Figure, History
from gproxy.monitor.gathered.reading import Reading, added

#: Seconds between two readings that are kept for the last minute, and their number.
_KEEP_EVERY: Final = 10.0
_KEPT: Final = 7
#: The share of a second's durations that still counts a second later: percentiles are of about the last ten seconds.
_DECAY: Final = 0.9
#: The decayed number of requests below which the last one is so long ago that there are no percentiles.
_FORGOTTEN: Final = 0.5
_NOTHING: Final[Mapping[str, Any]] = {}

#: The gauges of the gateway: the name of the figure, its family, and how the series of the workers make one value.
_GAUGES: Final = (
    ("in_flight", "gproxy_requests_in_flight", Reading.total),
    ("connections", "gproxy_connections", Reading.total),
    ("lag", "gproxy_worker_lag_seconds", Reading.highest),
    ("memory", "gproxy_worker_memory_bytes", Reading.total),
)


@dataclass(frozen=True, slots=True)
class Minute:
    """The last minute of one route or upstream. Durations are seconds; None without any."""

    requests: float = 0.0
    errors: float = 0.0
    rate: float = 0.0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None

    def describe(self) -> dict[str, Any]:
        """Return the values as JSON has them."""
        return {
            "requests": round(self.requests), "errors": round(self.errors), "requests_per_second": round(self.rate, 3),
            "p50": _rounded(self.p50), "p95": _rounded(self.p95), "p99": _rounded(self.p99),
        }  # fmt: skip


@dataclass(slots=True)
class _Durations:
    """The decayed histogram of one route or upstream."""

    cells: Sequence[float] = ()

    def add(self, cells: Sequence[float]) -> None:
        """Add the durations of a second; forget all once they are long ago."""
        if len(self.cells) != len(cells):
            self.cells = cells if any(cells) else ()
            return
        self.cells = [old * _DECAY + new for old, new in zip(self.cells, cells, strict=True)]
        if sum(self.cells[1:]) < _FORGOTTEN:
            self.cells = ()


@dataclass(slots=True)
class Figures:
    """The figures: the latest values, the last minute, the history, and when each route was used last.

    `read` returns the rows of all workers.
    """

    read: Callable[[], Iterable[Row]]
    history: History
    changes: Changes
    #: The latest values about the gateway, by name.
    latest: Mapping[str, Any] = field(default_factory=dict)
    #: The Unix time of the last request of each route and upstream, as far as this monitor has seen one.
    used: dict[tuple[str, str], float] = field(default_factory=dict)
    _families: dict[str, Family] = field(default_factory=dict)
    _buckets: dict[str, Percentiles] = field(default_factory=dict)
    _before: Reading | None = None
    _kept: deque[Reading] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _durations: dict[tuple[str, str], _Durations] = field(default_factory=dict)
    _minute: Reading = field(default_factory=lambda: Reading(0.0, {}))
    #: PERF: what `last_minute` has returned since the last sample, for all views.
    _minutes: dict[str, dict[str, Minute]] = field(default_factory=dict)

    def sample(self, monotonic: float, now: float) -> None:
        """Take the sample of a second that ends now: a monotonic time, and the Unix time."""
        rows = list(self.read())
        for name, row in {row.name: row for row in rows}.items():
            self._families[name], self._buckets[name] = row.family, row.buckets
        before = self._before
        self._before = reading = Reading.of(monotonic, rows, before)
        if not self._kept or monotonic - self._kept[-1].when >= _KEEP_EVERY:
            self._kept.append(reading)
        self._minute, self._minutes = reading.since(self._kept[0]), {}
        if before is None:
            return
        growth = reading.since(before)
        self._note_ejections(growth)
        values = self._gateway(reading, growth)
        for about in _COUNTED:
            values |= self._each(about, growth, now)
        self.history.add(now, values)
        self.latest = {figure.name: value for figure, value in values.items() if figure.about == "gateway"}
        self.latest = {**self.latest, "reasons": {f.of: v for f, v in values.items() if v and f.about == "reason"}}

    def _gateway(self, reading: Reading, growth: Reading) -> dict[Figure, float | None]:
        seconds = growth.when or 1.0
        values: dict[Figure, float | None] = {Figure(name): merge(reading, family) for name, family, merge in _GAUGES}
        values[Figure("requests")] = growth.total("gproxy_requests_total") / seconds
        values[Figure("errors")] = sum(growth.errors_by_route().values()) / seconds
        values[Figure("blocks")] = self._minute.total("gproxy_hub_blocked_total")  # of the last minute
        values[Figure("cpu")] = growth.total("gproxy_worker_cpu_seconds_total") / seconds
        durations = growth.series("gproxy_request_duration_seconds").values()
        if durations:
            values |= self._percentiles(Figure("", "gateway"), "gproxy_request_duration_seconds", added(durations))
        for reason, count in growth.by("gproxy_requests_total", 2).items():
            if reason:
                values[Figure("errors", "reason", reason)] = count / seconds
        return values

    def _each(self, about: str, growth: Reading, now: float) -> dict[Figure, float | None]:
        values: dict[Figure, float | None] = {}
        counted, seconds = _COUNTED[about], growth.when or 1.0
        errors = counted.errors(growth)
        for name, count in growth.by(counted.requests, 0).items():
            values[Figure("requests", about, name)] = count / seconds
            values[Figure("errors", about, name)] = errors.get(name, 0.0) / seconds
            if count:
                self.used[about, name] = now
        for labels, cells in growth.series(counted.durations).items():
            values |= self._percentiles(Figure("", about, labels[0]), counted.durations, cells)
        return values

    def _percentiles(self, figure: Figure, family: str, cells: Sequence[float]) -> dict[Figure, float | None]:
        durations = self._durations.setdefault((figure.about, figure.of), _Durations())
        durations.add(cells)
        buckets = self._buckets[family]
        if not durations.cells:
            return {}
        return {
            figure._replace(name=name): buckets.percentile(durations.cells[1:], share)
            for name, share in _PERCENTILES.items()
        }

    def _note_ejections(self, growth: Reading) -> None:
        for (upstream, backend), cells in growth.series("gproxy_backend_ejections_total").items():
            if cells[0]:
                self.changes.add("ejected", f"{backend} of upstream {upstream} was ejected")

    @property
    def minute(self) -> Reading:
        """The growth of all counters in the last minute, or since the monitor began."""
        return self._minute

    def last_minute(self, about: str) -> Mapping[str, Minute]:
        """Return what each route or upstream did in the last minute, by name."""
        if about not in self._minutes:
            self._minutes[about] = self._last_minute(about)
        return self._minutes[about]

    def _last_minute(self, about: str) -> dict[str, Minute]:
        minute, counted = self._minute, _COUNTED[about]
        errors = counted.errors(minute)
        durations = {labels[0]: cells for labels, cells in minute.series(counted.durations).items()}
        return {
            name: self._as_minute(count, errors.get(name, 0.0), counted.durations, durations.get(name, ()))
            for name, count in minute.by(counted.requests, 0).items()
        }

    def _as_minute(self, count: float, errors: float, family: str, cells: Sequence[float]) -> Minute:
        found = {
            name: self._buckets[family].percentile(cells[1:], share) if cells else None
            for name, share in _PERCENTILES.items()
        }
        return Minute(count, errors, count / self._minute.when if self._minute.when else 0.0, **found)

    def backends(self) -> dict[tuple[str, str], Minute]:
        """Return what each backend did in the last minute, by the names of its upstream and its own."""
        seconds = self._minute.when or 1.0
        failures = self._minute.series("gproxy_backend_failures_total")
        found = {}
        for labels, (count, *_) in self._minute.series("gproxy_backend_attempts_total").items():
            errors = failures[labels][0] if labels in failures else 0.0
            found[labels[0], labels[1]] = Minute(count, errors, count / seconds)
        return found

    def last_use(self, routes: Iterable[str]) -> float | None:
        """Return the Unix time of the last request of these routes; None if this monitor has not seen one."""
        return max((self.used[key] for route in routes if (key := ("route", route)) in self.used), default=None)

    def state_of_handler(self, handler: str) -> str:
        """Return `skipped` if a worker skips the handler, `failing` after errors in the last minute, else `ok`."""
        latest = self._before
        if latest is not None and latest.by("gproxy_handler_skipped", 0).get(handler):
            return "skipped"
        return "failing" if self._minute.by("gproxy_handler_errors_total", 0).get(handler) else "ok"

    def of_handler(self, handler: str) -> dict[str, Any]:
        """Return what a handler counted in the last minute, by metric: a number, or the percentiles of durations."""
        found: dict[str, Any] = {}
        for name, family in self._families.items():
            if "handler" not in family.labels or family.kind == "gauge":
                continue
            place = family.labels.index("handler")
            cells = [one for labels, one in self._minute.series(name).items() if labels[place] == handler]
            short = name.removeprefix("gproxy_").removesuffix("_total")
            if cells and family.kind == "histogram":
                found[short] = self._as_minute(0, 0, name, added(cells)).describe()
            elif cells:
                found[short] = round(sum(one[0] for one in cells), 6)
        return found


class _Counted(NamedTuple):
    """The families that count requests and durations of routes or upstreams by their names, and the errors of each."""

    requests: str
    durations: str
    errors: Callable[[Reading], Mapping[str, float]]


_COUNTED: Final = {
    "route": _Counted("gproxy_requests_total", "gproxy_request_duration_seconds", Reading.errors_by_route),
    "upstream": _Counted(
        "gproxy_backend_attempts_total",
        "gproxy_backend_duration_seconds",
        lambda reading: reading.by("gproxy_backend_failures_total", 0),
    ),
}
_PERCENTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
