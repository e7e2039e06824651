"""Metrics of exchanges, by route, status and reason."""

from collections.abc import Callable

from gproxy.http.request import Request
from gproxy.observe.metrics import Metrics, Series


class RequestMetrics:
    """A wrapper of Gateway.record that counts exchanges; used only if metrics are exposed."""

    def __init__(self, metrics: Metrics, record: Callable[[Request, int, float, int], None]) -> None:
        self._metrics = metrics
        self._record = record
        self._routes: dict[str, _RouteSeries] = {}

    def record(self, request: Request, status: int, duration: float, size: int) -> None:
        """Count a finished exchange, then record it."""
        route = request.route
        series = self.count(route.name if route else "", status, request.reason, duration, size)
        if request.body.received:
            series.received.cells[0] += request.body.received
        if request.tries > 1:
            series.retries.cells[0] += request.tries - 1
        self._record(request, status, duration, size)

    def count(self, route: str, status: int, reason: str, duration: float, size: int) -> "_RouteSeries":
        """Count a response, also to bytes that were no valid request. Return the series of its route."""
        series = self._routes.get(route)
        if series is None:
            series = self._routes[route] = _RouteSeries(route, self._metrics)
        series.durations.observe(duration)
        series.sent.cells[0] += size
        requests = series.requests.get((status, reason))
        if requests is None:
            requests = self._metrics.series("gproxy_requests_total", route, str(status), reason)
            series.requests[status, reason] = requests
        requests.cells[0] += 1
        return series


class _RouteSeries:
    """The series of one route. PERF: looked up once."""

    __slots__ = ("durations", "received", "requests", "retries", "sent")

    def __init__(self, route: str, metrics: Metrics) -> None:
        self.durations = metrics.series("gproxy_request_duration_seconds", route)
        self.received = metrics.series("gproxy_request_bytes_total", route)
        self.sent = metrics.series("gproxy_response_bytes_total", route)
        self.retries = metrics.series("gproxy_retries_total", route)
        self.requests: dict[tuple[int, str], Series] = {}
