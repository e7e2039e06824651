"""Counts requests, by route and by how they ended."""

from collections.abc import Callable

from gproxy.http.request import Request
from gproxy.observe.metrics import Metrics, Series


class RequestMetrics:
    """Stands before what records a request, once somebody wants to read metrics."""

    def __init__(self, metrics: Metrics, record: Callable[[Request, int, float, int], None]) -> None:
        self._metrics = metrics
        self._record = record
        self._routes: dict[str, _RouteMeter] = {}

    def record(self, request: Request, status: int, duration: float, size: int) -> None:
        """One request and its response are over."""
        route = request.route
        meter = self.count(route.name if route else "", status, request.reason, duration, size)
        if request.body.received:
            meter.received.cells[0] += request.body.received
        if request.tries > 1:
            meter.retries.cells[0] += request.tries - 1
        self._record(request, status, duration, size)

    def count(self, route: str, status: int, reason: str, duration: float, size: int) -> "_RouteMeter":
        """The same of what was no request."""
        meter = self._routes.get(route)
        if meter is None:
            meter = self._routes[route] = _RouteMeter(route, self._metrics)
        meter.durations.observe(duration)
        meter.sent.cells[0] += size
        ends = meter.ends.get((status, reason))
        if ends is None:
            ends = self._metrics.series("gproxy_requests_total", route, str(status), reason)
            meter.ends[status, reason] = ends
        ends.cells[0] += 1
        return meter


class _RouteMeter:
    """The series of a route, at hand."""

    __slots__ = ("durations", "ends", "received", "retries", "sent")

    def __init__(self, route: str, metrics: Metrics) -> None:
        self.durations = metrics.series("gproxy_request_duration_seconds", route)
        self.received = metrics.series("gproxy_request_bytes_total", route)
        self.sent = metrics.series("gproxy_response_bytes_total", route)
        self.retries = metrics.series("gproxy_retries_total", route)
        self.ends: dict[tuple[int, str], Series] = {}
