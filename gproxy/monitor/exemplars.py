"""The exemplars of histograms: traces that the collector has, one for each bucket of a route's durations."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from gproxy.handlers.metrics import Example
from gproxy.tracing.span_record import SCOPE, SpanRecord

#: The histogram with exemplars; its label is the route.
_HISTOGRAM: Final = "gproxy_request_duration_seconds"
#: The most exemplars, of all routes.
_MOST: Final = 4096


class Exemplars:
    """The latest sampled request in each bucket. `bounds` are the upper bounds of the buckets on the page."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        #: By the route and the number of the bucket; the one that was set longest ago comes first.
        self._examples: dict[tuple[str, int], Example] = {}

    def use(self, bounds: Sequence[float]) -> None:
        """Keep exemplars for these buckets from now on; other buckets lose theirs."""
        if self._bounds != tuple(bounds):
            self._bounds = tuple(bounds)
            self._examples.clear()

    def note(self, record: SpanRecord) -> None:
        """Note the trace of a span that the collector has, if it is the gateway's span of a sampled request."""
        attributes = record["attributes"]
        if record["kind"] != "server" or record["scope"] != SCOPE or "gproxy.sampled" in attributes:
            return
        seconds = (record["end"] - record["start"]) / 1e9
        place = str(attributes.get("gproxy.route", "")), bisect_left(self._bounds, seconds)
        self._examples.pop(place, None)
        if len(self._examples) >= _MOST:
            del self._examples[next(iter(self._examples))]
        self._examples[place] = Example(record["trace_id"], seconds, record["end"] / 1e9)

    def of(self, name: str, labels: tuple[str, ...], bounds: Sequence[float]) -> Sequence[Example | None]:
        """Return the exemplar of each bucket of this series, the one above the last bound included."""
        if name != _HISTOGRAM or tuple(bounds) != self._bounds:
            return [None] * (len(bounds) + 1)
        return [self._examples.get((labels[0], number)) for number in range(len(bounds) + 1)]
