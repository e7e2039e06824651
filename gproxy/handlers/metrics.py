"""The page of metrics for Prometheus, answered without a backend."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from gproxy.config.types import Network
from gproxy.config.types.addresses import LOOPBACK
from gproxy.handlers.steps.own_paths import OwnPathsStep
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Handler
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.trust import is_trusted
from gproxy.runtime import Runtime

if TYPE_CHECKING:
    from prometheus_client.core import Metric
    from prometheus_client.samples import Exemplar


@dataclass
class Metrics:
    """Metrics page: `path` has the metrics of all workers, in the Prometheus text format or in OpenMetrics by Accept.

    Only clients in `allow` may read it; docs/metrics.md describes the metrics. Raises HTTPError 403.
    """

    #: True for a handler that answers requests by design, so that it has no `mode`.
    answers_requests: ClassVar[bool] = True

    path: str = field(default="/metrics", metadata={"doc": "path of the page"})
    allow: tuple[Network, ...] = field(
        default=LOOPBACK,
        metadata={"doc": "addresses and networks that may read the page; peers on unix sockets always may"},
    )

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError."""
        if not self.path.startswith("/"):
            raise ValueError(f"path: {self.path!r} is not a path; expected one that starts with /")
        self._step = OwnPathsStep(frozenset((self.path,)), self._answer)
        self._is_admitted = lru_cache(1024)(self._admits)

    def open(self, runtime: Runtime) -> None:
        self._metrics = runtime.metrics
        runtime.start_metrics()

    def close(self) -> None:
        self._metrics.stop()

    @property
    def __call__(self) -> Handler:
        """The step, which the chain calls in place of the handler."""
        return self._step

    def _answer(self, request: Request) -> Response:
        if not self._is_admitted(request.client):
            raise HTTPError(403, "client address is not allowed", reason="forbidden")
        if request.method not in {"GET", "HEAD"}:
            raise HTTPError(405, f"{request.method} is not allowed here; expected GET or HEAD", {"Allow": "GET, HEAD"})
        page, media_type = exposition(self._metrics.read(), request.headers.get("accept") or "")
        return Response(200, page, {"Content-Type": media_type, "Cache-Control": "no-store"})

    def _admits(self, client: str) -> bool:
        return is_trusted(client, self.allow)


class Family(Protocol):
    """The declaration that all series of one name share."""

    @property
    def kind(self) -> str: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def help(self) -> str: ...


class Percentiles(Protocol):
    """The inner buckets of a histogram."""

    def percentile(self, counts: Sequence[float], share: float, /) -> float | None:
        """Return the duration that this share of the observations does not exceed; None without any."""
        ...


class Row(Protocol):
    """The current value of one series."""

    @property
    def name(self) -> str: ...
    @property
    def family(self) -> Family: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def cells(self) -> list[float]: ...
    @property
    def buckets(self) -> Percentiles: ...
    @property
    def value(self) -> float: ...
    @property
    def bounds(self) -> tuple[float, ...]: ...
    @property
    def counts(self) -> list[float]: ...


class Example(NamedTuple):
    """An exemplar: a trace, and the observation that it stands for, at a Unix time; both in seconds."""

    trace_id: str
    value: float
    when: float


#: Returns the exemplars of a histogram's series, for the buckets with these upper bounds and the one above them.
FindExemplars = Callable[[str, tuple[str, ...], Sequence[float]], Sequence[Example | None]]


def no_exemplars(_: str, __: tuple[str, ...], bounds: Sequence[float]) -> Sequence[Example | None]:
    """Return no exemplar for any bucket."""
    return [None] * (len(bounds) + 1)


def exposition(rows: Iterable[Row], accept: str, find_exemplars: FindExemplars = no_exemplars) -> tuple[bytes, str]:
    """Return the page and its media type, in the format that the Accept header asks for; OpenMetrics has exemplars."""
    # Imported at the first request: it is large, and only a gateway that is scraped needs it.
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(rows, find_exemplars))
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


class _Collector:
    """A collector that passes the rows to prometheus_client."""

    def __init__(self, rows: Iterable[Row], find_exemplars: FindExemplars) -> None:
        self._rows = rows
        self._find_exemplars = find_exemplars

    def describe(self) -> "list[Metric]":
        """Return nothing: registration must not collect."""
        return []

    def collect(self) -> "Iterator[Metric]":
        """Yield one family with all its series for each name."""
        for name, rows in groupby(self._rows, key=lambda row: row.name):
            yield _family(name, list(rows), self._find_exemplars)


def _family(name: str, rows: "list[Row]", find_exemplars: FindExemplars) -> "Metric":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    family = rows[0].family
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(name, family.help, labels=family.labels)
        for row in rows:
            histogram.add_metric(row.labels, _buckets(row, find_exemplars), row.value)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(name, family.help, labels=family.labels)
    for row in rows:
        metric.add_metric(row.labels, row.value)
    return metric


def _buckets(row: Row, find_exemplars: FindExemplars) -> "list[tuple[str, float] | tuple[str, float, Exemplar]]":
    """Return the buckets of a histogram's series: the upper bound, the observations up to it, perhaps an exemplar."""
    found = find_exemplars(row.name, row.labels, row.bounds)
    buckets = zip((*map(str, row.bounds), "+Inf"), accumulate(row.counts), found, strict=True)
    return [(bound, count, _exemplar(one)) if one else (bound, count) for bound, count, one in buckets]


def _exemplar(example: Example) -> "Exemplar":
    from prometheus_client.samples import Exemplar

    return Exemplar({"trace_id": example.trace_id}, example.value, example.when)
