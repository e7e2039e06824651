"""Metrics of exchanges, by route, status and reason."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Final

from gproxy.config.sections.route import RouteSettings
from gproxy.gateway.error_responses import ErrorResponses
from gproxy.http.exchange import Exchange
from gproxy.http.handler import Handler
from gproxy.observe.metrics import Metrics, Series

#: The most routes with series from the start: more of them would take the room of series that are in use.
_MOST_ROUTES: Final = 1000
#: Status and reason of what a request usually ends with, by the option that names the action; of a forwarded one, each
#: status that alerts count.
_USUAL: Final[Mapping[str, Sequence[tuple[int, str]]]] = {
    "upstream": ((200, ""), (502, "connect_refused"), (503, "none_available"), (504, "backend_timeout")),
    "app": ((200, ""),),
    "root": ((200, ""), (304, ""), (404, "no_file")),
}


def _expected(route: RouteSettings) -> Iterable[tuple[int, str]]:
    """Return the usual statuses of the route, with their reasons."""
    if route.respond is None:
        return _USUAL.get("upstream" if route.upstream else route.action) or [(route.status, "")]
    is_error = route.respond >= 400 and not route.body
    return [(route.respond, "fixed" if is_error else "")]


class RequestMetrics:
    """An observer that counts exchanges; used only if metrics are exposed.

    The series of the given routes exist from the start: Prometheus sees no increase in a series that begins with 1.
    """

    def __init__(self, metrics: Metrics, routes: Iterable[RouteSettings] = ()) -> None:
        self._metrics = metrics
        self._routes: dict[str, _RouteSeries] = {}
        for route in islice(routes, _MOST_ROUTES):
            series = self._routes[route.name] = _RouteSeries(route.name, metrics)
            for status, reason in _expected(route):
                series.requests[status, reason] = self._requests(route.name, status, reason)

    def _requests(self, route: str, status: int, reason: str) -> Series:
        return self._metrics.series("gproxy_requests_total", route, str(status), reason)

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
            requests = series.requests[key] = self._requests(exchange.route, *key)
        requests.cells[0] += 1


def watch_handlers(errors: ErrorResponses, handlers: Mapping[str, Handler], metrics: Metrics) -> None:
    """Let the metrics follow how often each handler has failed."""
    for name, handler in handlers.items():
        metrics.watch("gproxy_handler_errors_total", (name,), partial(errors.failures, handler))


class _RouteSeries:
    """The series of one route. PERF: looked up once."""

    __slots__ = ("durations", "received", "requests", "retries", "sent")

    def __init__(self, route: str, metrics: Metrics) -> None:
        self.durations = metrics.series("gproxy_request_duration_seconds", route)
        self.received = metrics.series("gproxy_request_bytes_total", route)
        self.sent = metrics.series("gproxy_response_bytes_total", route)
        self.retries = metrics.series("gproxy_retries_total", route)
        self.requests: dict[tuple[int, str], Series] = {}
