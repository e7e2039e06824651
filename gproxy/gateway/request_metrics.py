"""Metrics of exchanges, by route, status and reason."""

from gproxy.http.exchange import Exchange
from gproxy.observe.metrics import Metrics, Series


class RequestMetrics:
    """An observer that counts exchanges; used only if metrics are exposed."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._routes: dict[str, _RouteSeries] = {}

    def record(self, exchange: Exchange) -> None:
        """Count an exchange; one without a route, such as bytes that are no request, has the route ""."""
        series = self._routes.get(exchange.route)
        if series is None:
            series = self._routes[exchange.route] = _RouteSeries(exchange.route, self._metrics)
        series.durations.observe(exchange.duration)
        series.sent.cells[0] += exchange.bytes_sent
        if exchange.bytes_received:
            series.received.cells[0] += exchange.bytes_received
        if exchange.tries > 1:
            series.retries.cells[0] += exchange.tries - 1
        key = (exchange.status, exchange.reason)
        requests = series.requests.get(key)
        if requests is None:
            labels = (exchange.route, str(exchange.status), exchange.reason)
            requests = series.requests[key] = self._metrics.series("gproxy_requests_total", *labels)
        requests.cells[0] += 1


class _RouteSeries:
    """The series of one route. PERF: looked up once."""

    __slots__ = ("durations", "received", "requests", "retries", "sent")

    def __init__(self, route: str, metrics: Metrics) -> None:
        self.durations = metrics.series("gproxy_request_duration_seconds", route)
        self.received = metrics.series("gproxy_request_bytes_total", route)
        self.sent = metrics.series("gproxy_response_bytes_total", route)
        self.retries = metrics.series("gproxy_retries_total", route)
        self.requests: dict[tuple[int, str], Series] = {}
