"""A WSGI app as the action of a route (PEP 3333)."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, cast

from gproxy.apps.environ import EnvironBuilder
from gproxy.apps.fallthrough import Fallthrough, RecordedReads
from gproxy.apps.file_wrapper import FileWrapper
from gproxy.apps.input import AppInput
from gproxy.apps.offloaded import AppThreads, OffloadedApp
from gproxy.apps.output import AppOutput, left
from gproxy.config.sections.route import RouteSettings
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.http.exchange import APP
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.runtime import Runtime
from gproxy.runtime.route_parts import RouteParts
from gproxy.upstream.forwarder.request_buffer import RequestBuffer

#: A function that returns the next bytes of a request's body.
NextPiece = Callable[[Request], bytes]
WSGICallable = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_log: Final = logging.getLogger("gproxy.app")
#: The defaults of an upstream, which hold for an offloaded app too.
_DEFAULTS: Final = UpstreamSettings.__dataclass_fields__


class AppCounts:
    """The counts of what apps have left to upstreams, and of late results of their threads."""

    def __init__(self, runtime: Runtime) -> None:
        self._watch = runtime.metrics.watch
        self._counts: Counter[tuple[str, str]] = Counter()

    def counter(self, metric: str, label: str) -> Callable[[], None]:
        """Return the function that counts one more."""
        key = (metric, label)
        if key not in self._counts:
            self._counts[key] = 0
            self._watch(metric, (label,), lambda: self._counts[key])
        return partial(self._counts.update, (key,))


class WSGIApp:
    """The action of a route that calls an app in the greenlet of the request."""

    def __init__(self, app: WSGICallable, environ: EnvironBuilder, runtime: Runtime, read: NextPiece) -> None:
        self._app = app
        self._environ = environ
        self._read = read
        self._offload = runtime.offload

    def __call__(self, request: Request) -> Response:
        """Return the app's response; the client gets its further pieces as they come.

        Raise what the app raises, or the HTTPError for a body that could not be read.
        """
        request.exchange.backend = APP
        wrapper = partial(FileWrapper, self._offload)
        response = self.answer(request, AppInput(partial(self._read, request)), AppOutput(), wrapper)
        if response.has_callbacks:
            request.at_end(response.close)  # a handler may drop the response instead of closing it
        return response

    def answer(self, request: Request, body: AppInput, output: AppOutput, file_wrapper: object) -> Response:
        """Return the app's response. Raise what the app raises; its `sys.exit` is a RuntimeError."""
        result: Iterable[bytes] = ()
        try:
            result = self._app(self._environ(request, body, file_wrapper), output.start_response)
            response = output.response(result, request.method, partial(_warn, request))
        except BaseException as error:
            _close(result)
            if body.failure is not None and isinstance(error, Exception):
                raise body.failure from error
            if isinstance(error, SystemExit):
                raise left(error) from error
            raise
        if body.failure is not None and response.status == 500:
            _close(result)
            raise body.failure
        if hasattr(result, "close"):
            response.on_close(partial(_close, result))
        return response


def next_piece(request: Request) -> bytes:
    """Return the next bytes of the body. The time until the response begins anew."""
    piece = request.body.next_piece()
    if piece:
        request.deadline.renew()
    return piece


def _close(result: object) -> None:
    """Close what an app has returned. Log an exception, and that it wants to end the process."""
    try:
        if hasattr(result, "close"):
            result.close()
    except (Exception, SystemExit):  # noqa: BLE001 an app may raise anything
        _log.exception("the app's close() failed")


def _warn(request: Request, problem: str) -> None:
    _log.warning("%s %s %s: %s", request.id, request.method, request.path, problem)


def action(route: RouteSettings, parts: RouteParts) -> Next:
    """Return the action of a route with an app."""
    runtime, counts = parts.runtime, parts.runtime.single(AppCounts)
    environ = EnvironBuilder(parts.head, runtime, prefix=parts.prefix, is_multiprocess=parts.is_multiprocess)
    read: NextPiece = next_piece if parts.forward is None else RecordedReads(next_piece, runtime, *parts.replay)
    app = WSGIApp(cast(WSGICallable, route.app.live), environ, runtime, read)
    last: Next = app
    if route.app.offload:
        dropped = counts.counter("gproxy_offload_dropped_total", f"app:{route.name}")
        size = _size("buffer_response", route.buffer_response)
        threads = runtime.single(AppThreads)
        last = OffloadedApp(app.answer, read, threads, read_ahead=size, count_dropped=dropped)
    if parts.forward is not None and route.app.fallthrough is not None:
        count = counts.counter("gproxy_fallthrough_total", route.name)
        last = Fallthrough(last, parts.forward(), status=route.app.fallthrough, count=count)
    size = _size("buffer_request", route.buffer_request) if route.app.offload else 0
    return RequestBuffer(last, runtime, size=size, spool=0) if size else last


def _size(option: str, own: int | None) -> int:
    """Return the bytes to buffer for an offloaded app: those of the route, or the default of upstreams."""
    return cast(int, _DEFAULTS[option].default) if own is None else own
