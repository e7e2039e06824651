"""The path of one request: id, route, deadline, chain, errors, record."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from greenlet import GreenletExit

from gproxy.gateway.chain import compose
from gproxy.gateway.error_responses import PLAIN, ErrorResponses
from gproxy.gateway.policy.report import if_reported
from gproxy.gateway.policy.steps import PolicySteps
from gproxy.gateway.request_metrics import RequestMetrics, watch_handlers
from gproxy.gateway.route import Route
from gproxy.gateway.router import Router, WrongMethodError
from gproxy.gateway.user_code import place
from gproxy.gateway.watch.capture_rules import CaptureRules
from gproxy.http.errors import BadMessage, ClientGone, HTTPError
from gproxy.http.exchange import Exchange, Observer
from gproxy.http.handler import Handler, Next
from gproxy.http.request import Request
from gproxy.http.request_id import RequestIDs
from gproxy.http.response import Response, is_event_stream
from gproxy.http.time_limit import ExchangeLimits
from gproxy.http.trust import Trust
from gproxy.observe.access_fields import NotedFields
from gproxy.runtime import Runtime
from gproxy.upstream.upstream import Upstream

_log = logging.getLogger("gproxy")


class Background(Protocol):
    """A part that works beside the requests: `begin` runs once the worker serves, `close` once it has drained."""

    def open(self) -> None: ...
    def begin(self) -> None: ...
    def close(self) -> None: ...


class CannotOpenError(Exception):
    """A failure to open a part of the gateway; the message is one line with the part and the cause."""


@dataclass
class GatewayParts:
    """The parts of a gateway, besides its router: several gateways of a process can have them in common.

    `handlers` are all live handlers by name, `handler_names` those of `[gateway]`, outermost first.
    """

    runtime: Runtime
    trust: Trust
    #: Of requests without a route.
    limits: ExchangeLimits
    #: What records each exchange. Always the same list object: `Gateway.open` adds an observer.
    observers: list[Observer]
    handlers: Mapping[str, Handler] = field(default_factory=dict)
    #: The handlers as chains call them; None: as they are.
    steps: PolicySteps | None = None
    handler_names: Sequence[str] = ()
    upstreams: Sequence[Upstream] = ()
    #: What works beside the requests, by the kind of its section.
    background: Mapping[str, Background] = field(default_factory=dict)
    errors: ErrorResponses = PLAIN
    #: What the access line needs of requests and responses themselves; None for nothing.
    notes: NotedFields | None = None
    #: The rules by which exchanges are captured; None if no request is watched.
    captures: CaptureRules | None = None


class Gateway:
    """The live gateway: from request to response. Built by build.py, opened in the worker, closed after draining.

    The chains, with their attributes:

        gateway handlers ( entrance ( route handlers ( action )))    _chains: for a route that matches
        gateway handlers ( _route_again )                            _unrouted, _wrong_method: ends as 404 or 405

    A gateway handler may rewrite the request. So the entrance calls `_route_again` too, in place of the route, if the
    request was rewritten:

        further gateway handlers ( route handlers ( action ))        _rewritten_chains
    """

    def __init__(self, router: Router, parts: GatewayParts) -> None:
        self.router = router
        self.parts = parts
        self.runtime = parts.runtime
        self.handlers = parts.handlers
        self.upstreams = parts.upstreams
        self.background = parts.background
        self.trust = trust = parts.trust
        self.errors = parts.errors
        self._steps = parts.steps or PolicySteps(parts.handlers, parts.errors)
        self.observers = parts.observers
        self._notes = parts.notes
        self._limits = parts.limits
        self._ids = RequestIDs()
        self._id_header, self._id_key = trust.id_header, trust.id_key
        self._unrouted = self._around(parts.handler_names, self._route_again)
        self._chains = {route: self._chain(route, self._entrance(route)) for route in router.routes}
        self._wrong_method = {route: self._chain(route, self._route_again) for route in router.routes}
        #: By the names of the route before and the route after the rewrite; "" before if no route has matched.
        self._rewritten_chains: dict[tuple[str, str], Next] = {}

    def with_router(self, router: Router) -> "Gateway":
        """Return a gateway with another router and the same parts, which only this one opens and closes."""
        return Gateway(router, self.parts)

    def _around(self, names: Sequence[str], action: Next, report: Sequence[str] = ()) -> Next:
        """Return the action behind these handlers, of which those in `report` only report."""
        return compose([step for _, step in self._steps.chain(names, report)], action, self.errors)

    def _chain(self, route: Route, action: Next) -> Next:
        return self._around(route.passes, action, route.settings.report)

    def _entrance(self, route: Route) -> Next:
        """Return the step into the matched route; it matches again if a gateway handler has rewritten the request."""
        route_chain = route.route_chain
        route_again = compose([], self._route_again, self.errors)  # a guarded step, as the route's chain is

        def entrance(request: Request) -> Response:
            return route_again(request) if request.is_rewritten else route_chain(request)

        entrance.is_guarded = True  # type: ignore[attr-defined]
        return entrance

    def _route_again(self, request: Request) -> Response:
        """Match the request again, after handlers may have rewritten it, and run the chain of its route.

        Run the gateway handlers that the first route skips and this one does not, and those that have only reported a
        rejection which this route enforces: a rewritten path must not bypass them. Raises HTTPError 404 or 405 if no
        route takes the request.
        """
        before = request.route
        route = self.router.match(request)
        request.route = route
        if request.offered:
            request.upgrade = route.upgrade_of(request)
        if before is route:
            return route.route_chain(request)
        request.deadline.begin(route.limits)
        key = ("" if before is None else before.name, route.name)
        if key not in self._rewritten_chains:
            self._rewritten_chains[key] = self._rewritten_chain(before if isinstance(before, Route) else None, route)
        return self._rewritten_chains[key](request)

    def _rewritten_chain(self, before: Route | None, route: Route) -> Next:
        """Return the chain of a route for requests that have passed the gateway handlers of another, or of none."""
        passed: Sequence[str] = self.parts.handler_names
        reported: Sequence[str] = ()
        if before is not None:
            passed, reported = before.passes, before.settings.report
        step = route.route_chain
        for name in reversed(route.passes):
            mode = self._steps.mode(name, route.settings.report)
            mode_before = self._steps.mode(name, reported) if name in passed else "off"
            if mode_before in {"enforce", mode}:
                continue
            again = self._around([name], step, route.settings.report)
            # A handler that had nothing to report has decided: it has counted the request, or removed the credential.
            step = if_reported(name, again, step) if mode_before == "report" else again
        return step

    def __call__(self, request: Request) -> Response:
        """Return the response. Raises only ClientGone, and GreenletExit if gevent kills the greenlet."""
        exchange = request.exchange
        if not exchange.id:
            exchange.id = self._ids.new(exchange.started)
        if self._notes is not None:
            self._notes.note_request(request)
        try:
            response = self.route(request)
        except GreenletExit:
            raise
        except ClientGone as error:
            if request.client_stream is None or request.client_stream.is_closed:
                raise
            # This client is still there: the exception is another request's, with which a handler shares it.
            response = self.errors.respond(error, request)
        except BaseException as error:  # noqa: BLE001 a handler's sys.exit() or gevent.Timeout must not end the process
            response = self.errors.respond(error, request)
        if not isinstance(response.raw_body, bytes):
            is_endless = exchange.is_endless = response.status == 101 or is_event_stream(response.headers)
            request.deadline.begin_body(is_event_stream=is_endless)
        if self._id_header:
            response.headers.put(self._id_header, self._id_key, exchange.id)
        if self._notes is not None:
            self._notes.note_response(exchange, response)
        return response

    def route(self, request: Request) -> Response:
        """Return the response of the route that takes the request. Raises what no step of a chain catches."""
        try:
            route = self.router.match(request)
        except HTTPError as error:
            return self._without_route(error, request)
        return self._on_route(route, request)

    def _on_route(self, route: Route, request: Request) -> Response:
        """Run the chain of the route that has matched."""
        request.route = route
        if request.offered:
            request.upgrade = route.upgrade_of(request)
        request.deadline.begin(route.limits)
        return self._chains[route](request)

    def _without_route(self, error: HTTPError, request: Request) -> Response:
        """Answer a request that no route takes: 200 for OPTIONS *, 400 for an ambiguous path.

        For 404 and 405 run the gateway's handlers first: they may rewrite the request onto a route.
        """
        request.deadline.begin(self._limits)
        if request.path == "*":  # OPTIONS * asks about the server as a whole (RFC 9110 section 9.3.7)
            return Response(200)
        if isinstance(error, WrongMethodError):
            request.route = error.route
            request.deadline.begin(error.route.limits)
            return self._wrong_method[error.route](request)
        return self._unrouted(request) if error.status == 404 else self.errors.respond(error, request)

    def reject(self, error: BadMessage | HTTPError, exchange: Exchange) -> Response:
        """Return the response to a connection or to bytes that are rejected before a request exists.

        Record its id, status and reason.
        """
        http = error if isinstance(error, HTTPError) else HTTPError(error.status, error.detail)
        exchange.id = self._ids.new(exchange.started)
        exchange.status, exchange.reason = http.status, http.reason
        response = self.errors.problem(http, exchange.id)
        if self._id_header:
            response.headers.put(self._id_header, self._id_key, exchange.id)
        if self._notes is not None:
            self._notes.note_response(exchange, response)
        return response

    def finish(self, exchange: Exchange) -> None:
        """Let the observers record a completed exchange."""
        for observer in self.observers:
            observer.record(exchange)

    def open(self) -> None:
        """Open all parts before the worker serves. Raises CannotOpenError."""
        runtime = self.runtime
        runtime.backends = self.snapshot
        runtime.admission = self.admission
        runtime.handlers = self._steps.snapshot
        for upstream in self.upstreams:
            open_part(f"[upstream:{upstream.name}]", upstream.open)
        for name, handler in self.handlers.items():
            if hasattr(handler, "open"):
                open_part(f"[handler:{name}]", handler.open, runtime)
        for kind, part in self.background.items():
            open_part(f"[{kind}]", part.open)
        for single in list(runtime.singles.values()):  # last: what handlers share opens side by side
            if hasattr(single, "open"):
                open_part(type(single).__name__, single.open)
        if runtime.host_state is not None and runtime.feed is not None:
            runtime.start_metrics()
        if runtime.metrics.wanted:
            self.observers.insert(0, RequestMetrics(runtime.metrics, [route.settings for route in self.router.routes]))
            watch_handlers(self.errors, self.handlers, runtime.metrics)
            self._steps.watch(runtime.metrics)
            for upstream in self.upstreams:
                upstream.measure()

    def begin(self) -> None:
        """Begin what works beside the requests, once the worker serves."""
        for part in self.background.values():
            part.begin()

    def close(self) -> None:
        """Close all parts after draining; what works beside the requests ends first."""
        for kind, part in self.background.items():
            close_part(f"[{kind}]", part)
        for route in self.router.routes:
            close_part(f"[route:{route.name}]", route.action)
        for name, handler in self.handlers.items():
            close_part(f"[handler:{name}]", handler)
        for single in list(self.runtime.singles.values()):
            close_part(type(single).__name__, single)
        for upstream in self.upstreams:
            upstream.close()

    def snapshot(self) -> dict[str, list[dict[str, Any]]]:
        """Return the state of each upstream's backends."""
        return {upstream.name: upstream.snapshot() for upstream in self.upstreams}

    def admission(self) -> dict[str, dict[str, Any]]:
        """Return the state of each upstream's concurrency limit and circuit breaker; others are omitted."""
        return {upstream.name: state for upstream in self.upstreams if (state := upstream.admission())}


def open_part(what: str, opening: Callable[..., None], *arguments: object) -> None:
    """Open one part. Raises CannotOpenError: a line for a mistake in the settings, a traceback for a handler's."""
    try:
        opening(*arguments)
    except OSError as error:
        where = f"{error.filename} " if error.filename else ""
        why = f"{(error.strerror or str(error)).lower()}{place(error)}"
        raise CannotOpenError(f"{what}: {where}cannot be opened: {why}") from None
    except ValueError as error:
        raise CannotOpenError(f"{what} {error}{place(error)}") from None
    except Exception as error:
        failed = CannotOpenError(f"{what}: {type(error).__name__}: {error}")
        failed.__cause__ = error  # compiled code does not set it with `from`
        raise failed from error


def close_part(what: str, part: object) -> None:
    """Close one part that has a `close`. Log its exception: the other parts and the access log must be closed too."""
    try:
        if hasattr(part, "close"):
            part.close()
    except (Exception, SystemExit):  # noqa: BLE001 a handler may raise anything
        _log.exception("%s: close failed", what)
