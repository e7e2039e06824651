"""The SERVER spans of requests, which an observer makes when an exchange is complete."""

from collections.abc import Collection, Mapping, Sequence
from time import time_ns
from typing import Final

from gproxy.config.types.path_pattern import RoutePath
from gproxy.http.exchange import Exchange
from gproxy.tracing.request_trace import OpenSpan, RequestTrace, TraceOutput
from gproxy.tracing.span_record import LONGEST, Attributes

#: The methods that a span names; a client may invent others without end.
_METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
#: What the protocol of a request is called in a span.
_VERSIONS: Final = {"HTTP/1.0": "1.0", "HTTP/1.1": "1.1", "HTTP/2.0": "2"}


class ServerSpans:
    """An observer that ends the span of each sampled request, and makes one of other requests that fail or are slow.

    `slow` is in seconds; the routes of `streams`, event streams and tunnels are never slow. `paths` are those of the
    routes, by name. Without `errors` only sampled requests have spans.
    """

    def __init__(
        self,
        output: TraceOutput,
        paths: Mapping[str, Sequence[RoutePath]],
        *,
        errors: bool,
        slow: float,
        streams: Collection[str] = (),
    ) -> None:
        self._output = output
        self._paths = paths
        self._errors = errors
        self._slow = slow
        self._streams = frozenset(streams)

    def record(self, exchange: Exchange) -> None:
        """Send the span of the exchange, if it has one."""
        trace = exchange.trace
        if isinstance(trace, RequestTrace):
            self._complete(trace.server, exchange)
            trace.end(trace.server)
        elif self._errors and exchange.trace_ids[0] and (exchange.status >= 500 or self._is_slow(exchange)):
            trace = RequestTrace(exchange.trace_ids, self._output)
            self._complete(trace.server, exchange)
            trace.server.attributes["gproxy.sampled"] = False
            trace.end(trace.server)

    def _is_slow(self, exchange: Exchange) -> bool:
        if exchange.duration <= self._slow or exchange.is_tunnel or exchange.is_endless:
            return False
        return exchange.route not in self._streams

    def _complete(self, span: OpenSpan, exchange: Exchange) -> None:
        """Give the span its name, its start and what the exchange says."""
        route = self._path_of(exchange)
        method = exchange.method if exchange.method in _METHODS else "HTTP"
        span.name = f"{method} {route}" if route else method
        span.start = time_ns() - int(exchange.duration * 1e9)
        span.attributes = {**_attributes(exchange), **span.attributes}
        if route:
            span.attributes["http.route"] = route
        if exchange.status >= 500 or (exchange.status < 400 and exchange.reason):
            span.fail(exchange.reason or str(exchange.status))

    def _path_of(self, exchange: Exchange) -> str:
        """Return the path or the pattern of the route that matched; the first one if a handler has rewritten it."""
        paths = self._paths.get(exchange.route, ())
        return next((path.text for path in paths if _matches(path, exchange.target)), paths[0].text if paths else "")


def _matches(path: RoutePath, target: str) -> bool:
    if path.expression is not None:
        return path.expression.fullmatch(target) is not None
    return target == path.prefix or target.startswith(f"{path.prefix.rstrip('/')}/")


def _attributes(exchange: Exchange) -> Attributes:
    """Return the attributes by the semantic conventions of HTTP, and the gateway's own; no query."""
    known = exchange.method in _METHODS
    found: Attributes = {
        "http.request.method": exchange.method if known else "_OTHER",
        "http.response.status_code": exchange.status,
        "url.path": exchange.target[:LONGEST],
        "client.address": exchange.client,
        "server.address": exchange.host[:LONGEST],
        "network.protocol.version": _VERSIONS.get(exchange.protocol, ""),
        "user_agent.original": exchange.user_agent[:LONGEST],
        "gproxy.request_id": exchange.id,
        "gproxy.route": exchange.route,
    }
    return {name: value for name, value in found.items() if value != ""}
