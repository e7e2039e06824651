"""The figures of groups of requests: count, rate, share of errors, durations, bytes."""

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from math import ceil, exp, log
from typing import Final, TypeVar

from gproxy.commands.logs.search import Columns
from gproxy.observe.access_files.layout import Layout, Row
from gproxy.observe.access_files.moments import iso, minute, moment

_T = TypeVar("_T", bytes, float)
#: What requests are grouped by, and the field that says so.
GROUPINGS: Final = {
    "route": "route",
    "path": "path",
    "client": "client",
    "status": "status",
    "reason": "reason",
    "backend": "backend",
    "minute": "time",
}
#: The shares of the percentiles: this share of the requests took at most as long.
SHARES: Final = (0.5, 0.95, 0.99)
#: The most groups; the requests of further ones are in one group of this name.
_MOST_GROUPS: Final = 100_000
_OTHERS: Final = b"(others)"
#: The most durations that are kept, in all groups together: 80 MB.
_MOST_DURATIONS: Final = 10_000_000
#: The logarithm of the ratio between two steps of rounded durations.
_STEP: Final = log(1.01)
#: Durations have microseconds.
_SHORTEST: Final = 1e-6


class Durations:
    """Durations in seconds. Percentiles are exact until `fold`, and within 1 % after that."""

    __slots__ = ("_folded", "values")

    def __init__(self) -> None:
        self.values = array("d")
        self._folded: Counter[int] = Counter()

    def fold(self) -> None:
        """Keep the number of durations in each step, instead of the durations."""
        self._folded.update(round(log(max(value, _SHORTEST)) / _STEP) for value in self.values)
        self.values = array("d")

    def join(self, other: "Durations") -> None:
        """Add the durations of another group."""
        self.values.extend(other.values)
        self._folded.update(other._folded)  # noqa: SLF001 another object of the class

    def percentiles(self, shares: Sequence[float]) -> list[float | None]:
        """Return the lowest duration that is not below this share of all durations, for each share."""
        if not self._folded:
            ordered = sorted(self.values)
            return [ordered[_rank(share, len(ordered)) - 1] if ordered else None for share in shares]
        self.fold()
        return [self._step(_rank(share, self._folded.total())) for share in shares]

    def _step(self, rank: int) -> float:
        for step in sorted(self._folded):
            rank -= self._folded[step]
            if rank <= 0:
                break
        return exp(step * _STEP)


def _rank(share: float, count: int) -> int:
    return max(1, ceil(share * count))


@dataclass(slots=True)
class Group:
    """The figures of the requests of one group."""

    count: int = 0
    errors: int = 0
    bytes: int = 0
    durations: Durations = field(default_factory=Durations)

    def join(self, other: "Group") -> None:
        """Add the requests of another group."""
        self.count += other.count
        self.errors += other.errors
        self.bytes += other.bytes
        self.durations.join(other.durations)


class Groups:
    """Requests, grouped by one of GROUPINGS. A status of 500 and above is an error."""

    def __init__(self, by: str) -> None:
        self._by = by
        self._field = GROUPINGS[by]
        self.wanted = frozenset({self._field, "time", "status", "size", "duration"})
        self.required = {self._field: f"by {by}"}
        self._span: list[float] = []
        #: By the format of the lines and the value as it is written.
        self._groups: dict[str, dict[bytes, Group]] = {}
        self._durations = 0

    @property
    def span(self) -> tuple[float, float] | None:
        """The times of the first and the last request, in seconds since the epoch."""
        return (min(self._span), max(self._span)) if self._span else None

    def take(self, columns: Columns, rows: list[Row]) -> None:
        places = columns.places
        keys = [row[places[self._field]] for row in rows]
        if self._by == "minute":
            keys = list(map(minute, keys))
        self._note_span(places, rows)
        self._add(self._groups.setdefault(columns.layout.format, {}), keys, places, rows)
        self._durations += len(rows)
        if self._durations > _MOST_DURATIONS:
            self._fold()

    def _note_span(self, places: dict[str, int], rows: list[Row]) -> None:
        if (place := places.get("time")) is None:
            return
        # The text has the order of time among times with the same offset. Combined has few distinct times.
        times = {row[place] for row in rows} if len(rows[0][place]) < 29 else _extremes(row[place] for row in rows)
        self._span = _extremes([*self._span, *filter(None, map(moment, times))])

    def _add(
        self, groups: dict[bytes, Group], keys: Iterable[bytes], places: dict[str, int], rows: Sequence[Row]
    ) -> None:
        statuses, sizes, durations = (
            [row[places[name]] for row in rows] if name in places else repeat(absent)
            for name, absent in (("status", b""), ("size", b"0"), ("duration", b""))
        )
        for key, status, size, duration in zip(keys, statuses, sizes, durations, strict=False):
            group = groups.get(key) or self._new(groups, key)
            group.count += 1
            if status >= b"5":
                group.errors += 1
            group.bytes += int(size)
            if duration:
                group.durations.values.append(float(duration))

    def _new(self, groups: dict[bytes, Group], key: bytes) -> Group:
        if len(groups) >= _MOST_GROUPS:
            return groups.setdefault(_OTHERS, Group())
        group = groups[key] = Group()
        return group

    def _fold(self) -> None:
        for groups in self._groups.values():
            for group in groups.values():
                group.durations.fold()
        self._durations = 0

    def result(self) -> list[tuple[str, Group]]:
        """Return the groups with their names: minutes in their order, others from the most requests to the fewest."""
        joined: dict[str, Group] = {}
        for log_format, groups in self._groups.items():
            for raw, group in groups.items():
                name = self._name(log_format, raw)
                if name in joined:
                    joined[name].join(group)
                else:
                    joined[name] = group
        if self._by == "minute":
            return sorted(joined.items(), key=lambda item: item[0])
        return sorted(joined.items(), key=lambda item: (-item[1].count, item[0]))

    def _name(self, log_format: str, raw: bytes) -> str:
        if self._by == "minute" or raw == _OTHERS:
            return iso(raw)
        return str(Layout(log_format, ()).read(self._field, raw))


def _extremes(values: Iterable[_T]) -> list[_T]:
    kept = list(values)
    return [min(kept), max(kept)] if kept else []
