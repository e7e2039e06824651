"""Metrics in the format that Prometheus reads."""

from collections.abc import Iterator
from itertools import accumulate, groupby

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from gproxy.observe.metrics import BOUNDS, FAMILIES, Reading


def expose(reading: Reading, accept: str) -> tuple[bytes, str]:
    """The page, and its media type, which is what the Accept header asks for."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Reading(reading))
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


class _Reading(Collector):
    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def describe(self) -> list[Metric]:
        """Nothing: to register it must not mean to ask it."""
        return []

    def collect(self) -> Iterator[Metric]:
        for name, series in groupby(sorted(self._reading.items()), key=lambda item: item[0][0]):
            yield _family(name, [(labels, cells) for (_, labels), cells in series])


def _family(name: str, series: list[tuple[tuple[str, ...], list[float]]]) -> Metric:
    kind, labels, text = FAMILIES[name]
    if kind == "histogram":
        histogram = HistogramMetricFamily(name, text, labels=labels)
        for values, (total, *buckets) in series:
            bounds = zip((*map(str, BOUNDS), "+Inf"), accumulate(buckets), strict=True)
            histogram.add_metric(values, list(bounds), total)
        return histogram
    family = (CounterMetricFamily if kind == "counter" else GaugeMetricFamily)(name, text, labels=labels)
    for values, (value,) in series:
        family.add_metric(values, value)
    return family
