"""What was counted, for Prometheus to fetch; answered here, passed on to no backend."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_network
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Protocol

from gproxy.config.types import Network
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.trust import is_trusted
from gproxy.runtime import Runtime

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_HERE = (ip_network("127.0.0.0/8"), ip_network("::1"))


@dataclass
class Metrics:
    """`path` has the metrics of all workers in the Prometheus text format, or in OpenMetrics if that is asked for.

    Only clients in `allow` may see them; what they are is in docs/metrics.md. Raises HTTPError 403.
    """

    path: str = field(default="/metrics", metadata={"doc": "where they are"})
    allow: tuple[Network, ...] = field(
        default=_HERE, metadata={"doc": "addresses and networks that may see them, besides peers on a unix socket"}
    )

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if not self.path.startswith("/"):
            raise ValueError("path: it starts with /")
        self._is_admitted = lru_cache(1024)(self._judge)

    def open(self, runtime: Runtime) -> None:
        self._metrics = runtime.metrics
        self._metrics.start()
        self._metrics.watch("gproxy_worker_memory_bytes", (), runtime.memory)
        runtime.join(self._metrics)

    def close(self) -> None:
        self._metrics.stop()

    def __call__(self, request: Request, next: Next) -> Response:  # noqa: A002
        if request.path != self.path:
            return next(request)
        if not self._is_admitted(request.client):
            raise HTTPError(403, "this address is not admitted", reason="forbidden")
        if request.method not in {"GET", "HEAD"}:
            raise HTTPError(405, "GET and HEAD are possible here", {"Allow": "GET, HEAD"})
        page, media_type = exposition(self._metrics.read(), request.headers.get("accept") or "")
        return Response(200, page, {"Content-Type": media_type, "Cache-Control": "no-store"})

    def _judge(self, client: str) -> bool:
        return is_trusted(client, self.allow)


class Family(Protocol):
    """What all series of one name have in common."""

    @property
    def kind(self) -> str: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def help(self) -> str: ...
    @property
    def bounds(self) -> tuple[float, ...]: ...


class Row(Protocol):
    """What one series has come to."""

    @property
    def name(self) -> str: ...
    @property
    def family(self) -> Family: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def cells(self) -> list[float]: ...


def exposition(rows: Iterable[Row], accept: str) -> tuple[bytes, str]:
    """Return the page for Prometheus and its media type, which is what the Accept header asks for."""
    # Loaded when it is first asked for: it is large, and only those who scrape need it.
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(rows))
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


class _Collector:
    """Gives prometheus_client what was read."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = rows

    def describe(self) -> "list[Metric]":
        """Return nothing: registration must not collect."""
        return []

    def collect(self) -> "Iterator[Metric]":
        """Yield a family with its series for each name."""
        for name, rows in groupby(self._rows, key=lambda row: row.name):
            yield _family(name, list(rows))


def _family(name: str, rows: "list[Row]") -> "Metric":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    family = rows[0].family
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(name, family.help, labels=family.labels)
        for row in rows:
            total, *buckets = row.cells
            bounds = zip((*map(str, family.bounds), "+Inf"), accumulate(buckets), strict=True)
            histogram.add_metric(row.labels, list(bounds), total)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(name, family.help, labels=family.labels)
    for row in rows:
        metric.add_metric(row.labels, row.cells[0])
    return metric
