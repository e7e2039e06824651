"""What was counted, for Prometheus to fetch; answered here, passed on to no backend."""

from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_network

from gproxy.config.types import Network
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.trust import is_trusted
from gproxy.runtime import Runtime

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
        page, media_type = self._metrics.expose(request.headers.get("accept") or "")
        return Response(200, page, {"Content-Type": media_type, "Cache-Control": "no-store"})

    def _judge(self, client: str) -> bool:
        return is_trusted(client, self.allow)
