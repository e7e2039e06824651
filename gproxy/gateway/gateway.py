"""The path of one request: id, route, deadline, chain, errors, access line."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from greenlet import GreenletExit

from gproxy.gateway.chain import compose
from gproxy.gateway.error_responses import problem, respond
from gproxy.gateway.request_metrics import RequestMetrics
from gproxy.gateway.route import Route
from gproxy.gateway.router import Router, WrongMethodError
from gproxy.gateway.user_code import place
from gproxy.http.errors import BadMessage, ClientGone, HTTPError
from gproxy.http.handler import Handler, Next
from gproxy.http.request import Received, Request
from gproxy.http.request_id import RequestIDs
from gproxy.http.response import Response
from gproxy.http.trust import Trust
from gproxy.observe.access_line import Entry
from gproxy.observe.access_log import AccessLog
from gproxy.runtime import Runtime
from gproxy.upstream.backend import time_exchanges
from gproxy.upstream.upstream import Upstream

_log = logging.getLogger("gproxy")


class CannotOpenError(Exception):
    """A failure to open a part of the gateway; the message is one line with the part and the cause."""


class Gateway:
    """The live gateway: from request to response. Built by build.py, opened in the worker, closed after draining."""

    def __init__(
        self,
        *,
        runtime: Runtime,
        router: Router,
        handlers: dict[str, Handler],
        upstreams: Sequence[Upstream],
        trust: Trust,
        timeout: float,
        access_log: AccessLog,
    ) -> None:
        self.runtime = runtime
        self.router = router
        self.handlers = handlers
        self.upstreams = upstreams
        self.trust = trust
        self._timeout = timeout
        self._ids = RequestIDs()
        self.access_log = access_log
        self._unrouted: Next = self.enter
        self._names: tuple[str, ...] = ()
        self._rewritten_chains: dict[tuple[str, str], Next] = {}
        self._metrics: RequestMetrics | None = None
        #: Called at the end of each exchange: writes the access line; `open` puts RequestMetrics before it.
        self.record: Callable[[Request, int, float, int], None] = self._record

    def assemble(self, names: Sequence[str]) -> None:
        """Compose the chains of all routes: `names` are the handlers of `[gateway]`, outermost first."""
        self._names = tuple(names)
        self._unrouted = compose([self.handlers[name] for name in names], self.enter)
        for route in self.router.routes:
            passed = [name for name in names if name not in route.settings.skip]
            route.handler_names = frozenset((*passed, *route.settings.handlers))
            gateway_handlers = [self.handlers[name] for name in passed]
            route.chain = compose(gateway_handlers, self._route_entrance(route))
            if route.settings.stream:
                route.chain = _without_deadline(route.chain)
            route.method_not_allowed = compose(gateway_handlers, self.enter)

    def _route_entrance(self, route: Route) -> Next:
        """Return the step into the matched route; it matches again if a gateway handler has rewritten the request."""
        route_chain = route.route_chain

        def entrance(request: Request) -> Response:
            return guarded(request) if request.is_rewritten else route_chain(request)

        guarded = compose([], self.enter)
        entrance.is_guarded = True  # type: ignore[attr-defined]
        return entrance

    def enter(self, request: Request) -> Response:
        """Match the request again, after handlers may have rewritten it, and run the chain of its route.

        Run the gateway handlers that the first route skips and this one does not: a rewritten path must not bypass
        them.
        """
        before = request.route
        route = self.router.match(request)
        request.route = route
        if before is None or before is route:
            return route.route_chain(request)
        request.deadline.set(monotonic() + route.timeout)
        assert isinstance(before, Route)  # noqa: S101 only the gateway sets it
        key = (before.name, route.name)
        if key not in self._rewritten_chains:
            missed = [n for n in self._names if n in before.settings.skip and n not in route.settings.skip]
            self._rewritten_chains[key] = compose([self.handlers[name] for name in missed], route.route_chain)
        return self._rewritten_chains[key](request)

    def __call__(self, request: Request) -> Response:
        """Return the response. Raises only ClientGone, and GreenletExit at a forced stop."""
        if not request.id:
            request._id = self._ids.new(request.received.time)
        try:
            response = self._route(request)
        except GreenletExit:
            raise
        except ClientGone as error:
            if request.client_stream is None or request.client_stream.is_closed:
                raise
            response = respond(error, request)  # another client's: a handler shares the exception between requests
        except BaseException as error:  # a handler's sys.exit() or gevent.Timeout must not end the process
            response = respond(error, request)
        response.headers.put("X-Request-ID", "x-request-id", request.id)
        return response

    def _route(self, request: Request) -> Response:
        try:
            route = self.router.match(request)
        except HTTPError as error:
            request.deadline.set(monotonic() + self._timeout)
            return self._reject_route(error, request)
        request.route = route
        request.deadline.set(monotonic() + route.timeout)
        return route.chain(request)

    def _reject_route(self, error: HTTPError, request: Request) -> Response:
        """Reject with 400 at once; raise 404 and 405 again at the end of the chain, inside the gateway's handlers."""
        if request.path == "*":  # OPTIONS * asks about the server as a whole (RFC 9110 section 9.3.7)
            return Response(200)
        if isinstance(error, WrongMethodError):
            request.route = error.route
            return error.route.method_not_allowed(request)
        return self._unrouted(request) if error.status == 404 else respond(error, request)

    def reject(self, error: BadMessage | HTTPError, peer: str, started: float, line: tuple[str, str, str]) -> Response:
        """Reject bytes that are no valid request: return a response, log an access line with the fields of `line`."""
        http = error if isinstance(error, HTTPError) else HTTPError(error.status, error.detail)
        now = time.time()
        request_id = self._ids.new(now)
        response = problem(http, request_id)
        response.headers.put("X-Request-ID", "x-request-id", request_id)
        size, duration = len(response.read()), monotonic() - started
        if self._metrics is not None:
            self._metrics.count("", http.status, http.reason, duration, size)
        # fmt: off
        self.access_log.write(
            Entry(
                now, request_id, peer, *line, http.status, duration, size,
                0, "", "", "", 0, http.reason, "", "", "", "",
            )
        )
        # fmt: on
        return response

    def _record(self, request: Request, status: int, duration: float, size: int) -> None:
        """Log the access line, after the last byte is sent or sending has failed."""
        received: Received = request.received
        route = request.route
        headers = request.headers
        # fmt: off
        self.access_log.write(
            (
                received.time, request.id, request.client, received.method, _without_query(received.target),
                "HTTP/1.1" if received.minor else "HTTP/1.0", status, duration, size, request.body.received,
                route.name if route else "", request.upstream, request.backend or "", request.tries, request.reason,
                request.host, _without_query(headers.lookup("referer") or ""), headers.lookup("user-agent") or "",
                request.user,
            )
        )
        # fmt: on

    def open(self) -> None:
        """Open all parts before the worker serves. Raises CannotOpenError."""
        runtime = self.runtime
        runtime.backends = self.snapshot
        runtime.admission = self.admission
        _open("[log] access", self.access_log.open)
        for upstream in self.upstreams:
            _open(f"[upstream:{upstream.name}]", upstream.open)
        for name, handler in self.handlers.items():
            if hasattr(handler, "open"):
                _open(f"[handler:{name}]", handler.open, runtime)
        if runtime.metrics.wanted:
            self._metrics = RequestMetrics(runtime.metrics, self._record)
            self.record = self._metrics.record
            for upstream in self.upstreams:
                for backend in upstream.backends:
                    time_exchanges(upstream.name, backend, runtime.metrics)

    def close(self) -> None:
        """Close all parts after draining."""
        for route in self.router.routes:
            _close(f"[route:{route.name}]", route.action)
        for name, handler in self.handlers.items():
            _close(f"[handler:{name}]", handler)
        for upstream in self.upstreams:
            upstream.close()
        self.access_log.close()

    def snapshot(self) -> dict[str, list[dict[str, Any]]]:
        """Return the state of each upstream's backends."""
        return {upstream.name: upstream.snapshot() for upstream in self.upstreams}

    def admission(self) -> dict[str, dict[str, Any]]:
        """Return the state of each upstream's concurrency limit and circuit breaker; others are omitted."""
        return {upstream.name: state for upstream in self.upstreams if (state := upstream.admission())}


def _without_deadline(chain: Next) -> Next:
    """Return a chain for `stream = on`: the deadline ends with the response head, of a backend or a handler alike."""

    def without_deadline(request: Request) -> Response:
        response = chain(request)
        route = request.route
        if isinstance(route, Route) and route.settings.stream:  # a rewritten path may have led to another route
            request.deadline.set(math.inf)
        return response

    return without_deadline


def _open(what: str, opening: Callable[..., None], *arguments: object) -> None:
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


def _close(what: str, part: object) -> None:
    """Close one part that has a `close`. Log its exception: the other parts and the access log must be closed too."""
    try:
        if hasattr(part, "close"):
            part.close()
    except (Exception, SystemExit):
        _log.exception("%s: close failed", what)


def _without_query(url: str) -> str:
    """Return the URL without its query: queries carry secrets, which never reach a log."""
    return url.partition("?")[0] if "?" in url else url
