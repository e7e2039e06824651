"""One request's path: id, client, route, deadline, chain, errors, access line."""

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
    """A part of the gateway cannot be made ready to serve; the message is one line that says which and why."""


class Gateway:
    """Takes requests, gives responses. Built whole by build.py, opened in the worker, closed after draining."""

    def __init__(
        self,
        *,
        router: Router,
        handlers: dict[str, Handler],
        upstreams: Sequence[Upstream],
        trust: Trust,
        timeout: float,
        access_log: AccessLog,
    ) -> None:
        self.router = router
        self.handlers = handlers
        self.upstreams = upstreams
        self.trust = trust
        self._timeout = timeout
        self._ids = RequestIDs()
        self.access_log = access_log
        self._unrouted: Next = self.enter
        self._names: tuple[str, ...] = ()
        self._detours: dict[tuple[str, str], Next] = {}
        self._meter: RequestMetrics | None = None
        #: An exchange is over: the access line, and what else there is to note; replaced by a Meter that counts.
        self.record: Callable[[Request, int, float, int], None] = self._record

    def assemble(self, names: Sequence[str]) -> None:
        """Compile the chains: `names` are the gateway's own handlers, outermost first."""
        self._names = tuple(names)
        self._unrouted = compose([self.handlers[name] for name in names], self.enter)
        for route in self.router.routes:
            passed = [name for name in names if name not in route.settings.skip]
            route.handler_names = frozenset((*passed, *route.settings.handlers))
            own = [self.handlers[name] for name in passed]
            route.chain = compose(own, self._entrance(route))
            if route.settings.stream:
                route.chain = _endless(route.chain)
            route.method_not_allowed = compose(own, self.enter)

    def _entrance(self, route: Route) -> Next:
        """Into the route that was matched, unless a gateway handler has changed what was matched."""
        inner = route.route_chain

        def entrance(request: Request) -> Response:
            return guarded(request) if request.is_rewritten else inner(request)

        guarded = compose([], self.enter)
        entrance.is_guarded = True  # type: ignore[attr-defined]
        return entrance

    def enter(self, request: Request) -> Response:
        """Find the route again, with all that a handler changed, and run what is its own.

        Handlers that the first route skipped and this one does not are made up for: a rewritten path must not slip
        past them.
        """
        before = request.route
        route = self.router.match(request)
        request.route = route
        if before is None or before is route:
            return route.route_chain(request)
        request.deadline.set(monotonic() + route.timeout)
        assert isinstance(before, Route)  # noqa: S101 only the gateway sets it
        key = (before.name, route.name)
        if key not in self._detours:
            missed = [n for n in self._names if n in before.settings.skip and n not in route.settings.skip]
            self._detours[key] = compose([self.handlers[name] for name in missed], route.route_chain)
        return self._detours[key](request)

    def __call__(self, request: Request) -> Response:
        """Never raises but for ClientGone, and what a forced stop throws."""
        if not request.id:
            request._id = self._ids.new(request.received.time)
        try:
            response = self._route(request)
        except GreenletExit:
            raise
        except ClientGone as error:
            if request.client_stream is None or request.client_stream.is_closed:
                raise
            response = respond(error, request)  # another's: a handler has shared what its leaving had raised
        except BaseException as error:  # a handler's sys.exit() must not end the process, nor its own gevent.Timeout
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
        """400 at once; 404 and 405 are raised again where the chain enters the route, behind the gateway's handlers."""
        if request.path == "*":  # OPTIONS * asks about the server as a whole (RFC 9110 section 9.3.7)
            return Response(200)
        if isinstance(error, WrongMethodError):
            request.route = error.route
            return error.route.method_not_allowed(request)
        return self._unrouted(request) if error.status == 404 else respond(error, request)

    def reject(self, error: BadMessage | HTTPError, peer: str, started: float, line: tuple[str, str, str]) -> Response:
        """For what is no request: a response, and an access line of what is known, as in `readable_line`."""
        http = error if isinstance(error, HTTPError) else HTTPError(error.status, error.detail)
        now = time.time()
        request_id = self._ids.new(now)
        response = problem(http, request_id)
        response.headers.put("X-Request-ID", "x-request-id", request_id)
        size, duration = len(response.read()), monotonic() - started
        if self._meter is not None:
            self._meter.count("", http.status, http.reason, duration, size)
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
        """Called once the last byte is out, or it is clear that none will be."""
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

    def open(self, runtime: Runtime) -> None:
        """Before serving. Raises CannotOpenError."""
        runtime.backends = self.snapshot
        runtime.admission = self.admission
        _open("[log] access", self.access_log.open)
        for upstream in self.upstreams:
            _open(f"[upstream:{upstream.name}]", upstream.open, runtime)
        for name, handler in self.handlers.items():
            if hasattr(handler, "open"):
                _open(f"[handler:{name}]", handler.open, runtime)
        if runtime.metrics.wanted:
            self._meter = RequestMetrics(runtime.metrics, self._record)
            self.record = self._meter.record
            for upstream in self.upstreams:
                for backend in upstream.backends:
                    time_exchanges(upstream.name, backend, runtime.metrics)

    def close(self) -> None:
        """After draining."""
        for route in self.router.routes:
            _close(f"[route:{route.name}]", route.action)
        for name, handler in self.handlers.items():
            _close(f"[handler:{name}]", handler)
        for upstream in self.upstreams:
            upstream.close()
        self.access_log.close()

    def snapshot(self) -> dict[str, list[dict[str, Any]]]:
        """Each upstream's backends with their state."""
        return {upstream.name: upstream.snapshot() for upstream in self.upstreams}

    def admission(self) -> dict[str, dict[str, Any]]:
        """What keeps requests from the upstreams that have a limit or a breaker."""
        return {upstream.name: facts for upstream in self.upstreams if (facts := upstream.admission())}


def _endless(chain: Next) -> Next:
    """For a route with `stream`: the timeout ends with the response's head, whoever made the response."""

    def endless(request: Request) -> Response:
        response = chain(request)
        route = request.route
        if isinstance(route, Route) and route.settings.stream:  # a rewritten path may have led to another one
            request.deadline.set(math.inf)
        return response

    return endless


def _open(what: str, opening: Callable[..., None], *arguments: object) -> None:
    """What users get wrong is said in a line; anything else is a mistake in a handler, and shown with its traceback."""
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
        failed.__cause__ = error  # compiled, `from` would not say so
        raise failed from error


def _close(what: str, part: object) -> None:
    """If it wants to be; a user's mistake must not keep the others, and the last access lines, from their end."""
    try:
        if hasattr(part, "close"):
            part.close()
    except (Exception, SystemExit):
        _log.exception("%s: close failed", what)


def _without_query(url: str) -> str:
    """Queries carry secrets, which never reach a log."""
    return url.partition("?")[0] if "?" in url else url
