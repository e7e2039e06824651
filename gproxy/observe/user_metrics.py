"""The metrics of handlers, `runtime.counter` and the like: summed over all workers, with few label sets each."""

import re
from collections.abc import Sequence
from typing import Final, Literal

from gproxy.observe.metric_families import OTHER, Family
from gproxy.observe.metrics import Metrics, Series

#: The most label sets of a metric; further ones count as `other`.
MOST: Final = 100
#: The longest value of a label, in characters.
_LONGEST: Final = 200
_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
#: The ends of names that Prometheus gives a meaning.
_RESERVED: Final = ("_total", "_bucket", "_count", "_sum", "_created", "_info")

Kind = Literal["counter", "gauge", "histogram"]


def declare(
    metrics: Metrics, kind: Kind, name: str, labels: Sequence[str], doc: str, buckets: Sequence[float] = ()
) -> None:
    """Declare a metric of a handler. Raises ValueError for a name, a label or buckets that Prometheus would reject."""
    if not _NAME.fullmatch(name) or name.startswith("gproxy_"):
        raise ValueError(f"metric {name!r}: expected a name of letters, digits and _ that does not begin with gproxy_")
    if kind == "counter" and not name.endswith("_total"):
        raise ValueError(f"metric {name!r}: expected a counter's name to end with _total")
    if kind != "counter" and name.endswith(_RESERVED):
        raise ValueError(f"metric {name!r}: the end of the name is reserved by Prometheus")
    for label in labels:
        if not _LABEL.fullmatch(label) or label.startswith("__") or label in {"le", "worker"}:
            raise ValueError(f"metric {name!r}: {label!r} cannot be a label")
    if len(set(labels)) < len(labels):
        raise ValueError(f"metric {name!r}: a label is listed twice")
    if list(buckets) != sorted(set(buckets)) or any(bound <= 0 for bound in buckets):
        raise ValueError(f"metric {name!r}: expected buckets above 0, in ascending order")
    metrics.declare(name, Family(kind, tuple(labels), doc), buckets)


class LabelSets:
    """The label sets of a metric, at most MOST over all workers."""

    def __init__(self, metrics: Metrics, name: str, labels: Sequence[str]) -> None:
        self._metrics = metrics
        self._name = name
        self._size = len(labels)
        self._known: dict[tuple[str, ...], Series] = {}
        self._is_full = False

    def series(self, labels: tuple[str, ...]) -> Series:
        """Return the series of these label values. Raises ValueError for a wrong number of them."""
        found = self._known.get(labels)
        return self._find(labels) if found is None else found

    def _find(self, labels: tuple[str, ...]) -> Series:
        if len(labels) != self._size:
            raise ValueError(f"metric {self._name!r}: expected {self._size} label values, not {len(labels)}")
        values = tuple(str(value)[:_LONGEST] for value in labels)
        if not self._is_full and self._metrics.has_room(self._name, values, MOST):
            series = self._known[values] = self._metrics.series(self._name, *values)
            return series
        self._is_full = True
        if values in self._known:
            return self._known[values]
        return self._metrics.series(self._name, *(OTHER,) * self._size)


class UserCounter:
    """A counter of a handler: the sum over all workers since the start of the gateway."""

    def __init__(self, sets: LabelSets) -> None:
        self._sets = sets

    def add(self, amount: float, *labels: str) -> None:
        """Add to the counter with these label values. Raises ValueError for a negative amount."""
        if not amount >= 0:
            raise ValueError(f"expected an amount of 0 or more, not {amount}")
        self._sets.series(labels).cells[0] += amount


class UserHistogram:
    """A histogram of a handler, summed over all workers."""

    def __init__(self, sets: LabelSets) -> None:
        self._sets = sets

    def observe(self, value: float, *labels: str) -> None:
        """Add an observation with these label values: seconds, unless the histogram has buckets of its own."""
        self._sets.series(labels).observe(value)


class UserGauge:
    """A gauge of a handler: each worker sets its own value, and the page has their sum."""

    def __init__(self, metrics: Metrics, name: str, labels: Sequence[str]) -> None:
        self._name = name
        self._size = len(labels)
        self._values: dict[tuple[str, ...], float] = {}
        metrics.watch_group(name, lambda: self._values)

    def set(self, value: float, *labels: str) -> None:
        """Set the value with these label values; beyond MOST label sets, that of `other`."""
        self._values[self._key(labels)] = value

    def add(self, amount: float, *labels: str) -> None:
        """Change the value by an amount, which may be negative."""
        key = self._key(labels)
        self._values[key] = self._values.get(key, 0.0) + amount

    def _key(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        if labels in self._values:
            return labels
        if len(labels) != self._size:
            raise ValueError(f"metric {self._name!r}: expected {self._size} label values, not {len(labels)}")
        values = tuple(str(value)[:_LONGEST] for value in labels)
        return values if values in self._values or len(self._values) < MOST else (OTHER,) * self._size
