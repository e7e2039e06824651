"""The gateway of the admin listener: a single route whose action checks the caller and runs an operation."""

import json
import logging
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from gproxy.config.sections.route import RouteSettings
from gproxy.gateway.error_responses import ErrorResponses
from gproxy.gateway.gateway import Gateway, GatewayParts
from gproxy.gateway.route import Route
from gproxy.gateway.router import Router
from gproxy.http.errors import HTTPError
from gproxy.http.negotiate import error_kind
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.time_limit import ExchangeLimits
from gproxy.http.trust import Trust
from gproxy.monitor.access.access_check import AccessCheck
from gproxy.monitor.api.operation import Call, Operation, complete, named
from gproxy.monitor.watched_gateway import WatchedGateway
from gproxy.runtime import Runtime

_log = logging.getLogger("gproxy")

#: In seconds. A reload may take a minute.
_TIMEOUT: Final = 90.0
_LONGEST_BODY: Final = 64 * 1024

#: Methods that change nothing, whatever the path is.
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
#: The fields of every response, errors included.
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer, the login form of a browser has the Origin null
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
}
#: An operation, and the values in the path.
_Found = tuple[Operation, dict[str, str]]


def admin_gateway(
    watched: WatchedGateway, runtime: Runtime, access: AccessCheck, operations: Sequence[Operation]
) -> Gateway:
    """Return the gateway of the admin listener. It has no observers: its requests are in no log and in no metric."""
    action = AdminRequests(watched, access, operations)
    errors = ErrorResponses(fields=_HEADERS)
    route = Route(RouteSettings("admin", respond=200), timeout=_TIMEOUT, action=action, errors=errors)
    limits = ExchangeLimits.of_gateway(_TIMEOUT)
    parts = GatewayParts(runtime, Trust((), id_header=""), limits, observers=[], errors=errors)
    return Gateway(Router([route]), parts)


class AdminRequests:
    """The action of the admin route: the operation that method and path name."""

    def __init__(self, watched: WatchedGateway, access: AccessCheck, operations: Sequence[Operation]) -> None:
        self._watched = watched
        self._access = access
        self._operations = operations

    def __call__(self, request: Request) -> Response:
        """Return the response. Raises HTTPError: who may not ask learns nothing of what there is."""
        try:
            return _response(self._answer(request))
        except HTTPError as error:
            if error.status == 401 and _is_page_of_browser(request):
                return _response(Response(303, headers={"Location": "/login"}))
            raise

    def _answer(self, request: Request) -> Any:  # noqa: ANN401 whatever becomes JSON
        found = [(one, values) for one in self._operations if (values := one.match(request.path)) is not None]
        operation, values = _of_method(found, request)
        if operation is None:
            self._access.caller(request, acts=request.method not in _READING)
            raise _no_operation([one.method for one, _ in found], request)
        kind = {"acts": operation.acts, "is_public": operation.is_public, "is_form": operation.is_form}
        caller = self._access.caller(request, **kind)
        values |= _query(operation, request)
        values |= _body(operation, request) if operation.acts else {}
        return operation.answer(Call(self._watched, self._access, self._operations, request, caller, values))


def _is_page_of_browser(request: Request) -> bool:
    """Return whether a browser asks for the page, so that the form helps more than an error."""
    return request.path == "/" and request.method in _READING and error_kind(request.headers.get("accept")) == "html"


def _of_method(found: Sequence[_Found], request: Request) -> tuple[Operation | None, dict[str, Any]]:
    """Return the operation with the method of the request, and the values in its path; None without one."""
    method = "GET" if request.method == "HEAD" else request.method
    for one, values in found:
        if one.method == method:
            return one, {name: unquote(text) for name, text in values.items()}
    return None, {}


def _no_operation(methods: Sequence[str], request: Request) -> HTTPError:
    if not methods:
        return HTTPError(404, "there is no such operation; GET /openapi.json lists all")
    allowed = sorted({*methods, *(["HEAD"] if "GET" in methods else [])})
    return HTTPError(405, f"{request.method} is not allowed here", {"Allow": ", ".join(allowed)})


def _query(operation: Operation, request: Request) -> dict[str, Any]:
    pairs = parse_qsl(request.query, keep_blank_values=True)
    return {name: named(operation.query, name, "parameter").read_text(text) for name, text in pairs}


def _body(operation: Operation, request: Request) -> dict[str, Any]:
    """Return the fields of the body, which is JSON or that of a form. Raises HTTPError 400 or 413."""
    data = request.body.buffer(_LONGEST_BODY)
    content = dict(parse_qsl(data.decode("latin-1"))) if operation.is_form else _json(data)
    values = {name: named(operation.body, name, "field").read(value) for name, value in content.items()}
    return complete(operation.body, values)


def _json(data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(data or b"{}", parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise HTTPError(400, f"the body is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise HTTPError(400, "the body must be a JSON object")
    return content


def _reject_constant(text: str) -> float:
    """Raise ValueError: Python reads NaN and Infinity, which are no JSON (RFC 8259 section 6)."""
    raise ValueError(f"{text} is no number")


def _response(answer: Any) -> Response:  # noqa: ANN401 whatever becomes JSON
    if isinstance(answer, Response):
        response = answer
    else:
        body = json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        response = Response(200, body, {"Content-Type": "application/json"})
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response
