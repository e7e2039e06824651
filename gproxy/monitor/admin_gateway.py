"""The gateway of the admin listener: a single route whose action checks the caller and runs an operation."""

import json
import logging
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from gproxy.config.sections.route import RouteSettings
from gproxy.gateway.gateway import Gateway
from gproxy.gateway.route import Route
from gproxy.gateway.router import Router
from gproxy.http.errors import HTTPError
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.time_limit import ExchangeLimits
from gproxy.http.trust import Trust
from gproxy.monitor.access import AccessCheck
from gproxy.monitor.operation import Call, Operation, named
from gproxy.monitor.watched_gateway import WatchedGateway
from gproxy.runtime import Runtime

_log = logging.getLogger("gproxy")

#: In seconds. A reload may take a minute.
_TIMEOUT: Final = 90.0
_LONGEST_BODY: Final = 64 * 1024


def admin_gateway(
    watched: WatchedGateway, runtime: Runtime, access: AccessCheck, operations: Sequence[Operation]
) -> Gateway:
    """Return the gateway of the admin listener. It has no observers: its requests are in no log and in no metric."""
    action = AdminRequests(watched, access, operations)
    route = Route(RouteSettings("admin", respond=200), timeout=_TIMEOUT, action=action)
    limits = ExchangeLimits.of_gateway(_TIMEOUT)
    return Gateway(runtime=runtime, router=Router([route]), trust=Trust((), id_header=""), limits=limits, observers=[])


class AdminRequests:
    """The action of the admin route: the operation that method and path name."""

    def __init__(self, watched: WatchedGateway, access: AccessCheck, operations: Sequence[Operation]) -> None:
        self._watched = watched
        self._access = access
        self._operations = operations

    def __call__(self, request: Request) -> Response:
        """Return the response. Raises HTTPError."""
        caller = self._access.caller(request)
        operation, values = self._find(request)
        if operation.acts and not caller.may_act:
            raise HTTPError(403, f"{caller.name} may only read")
        values |= _query(operation, request)
        values |= _body(operation, request) if operation.acts else {}
        return _response(operation.answer(Call(self._watched, request, caller, values)))

    def _find(self, request: Request) -> tuple[Operation, dict[str, Any]]:
        """Return the operation and the values in its path. Raises HTTPError 404 or 405."""
        found = [(one, values) for one in self._operations if (values := one.match(request.path)) is not None]
        method = "GET" if request.method == "HEAD" else request.method
        for one, values in found:
            if one.method == method:
                return one, {name: unquote(text) for name, text in values.items()}
        if not found:
            raise HTTPError(404, "there is no such operation; GET /openapi.json lists all")
        allowed = ", ".join(sorted({one.method for one, _ in found}))
        raise HTTPError(405, f"{request.method} is not allowed here", {"Allow": allowed})


def _query(operation: Operation, request: Request) -> dict[str, Any]:
    pairs = parse_qsl(request.query, keep_blank_values=True)
    return {name: named(operation.query, name, "parameter").read_text(text) for name, text in pairs}


def _body(operation: Operation, request: Request) -> dict[str, Any]:
    """Return the fields of the JSON body. Raises HTTPError 400 or 415."""
    media_type = (request.headers.lookup("content-type") or "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPError(415, "an operation that changes something needs Content-Type: application/json")
    data = request.body.buffer(_LONGEST_BODY)
    try:
        content = json.loads(data or b"{}")
    except ValueError as error:
        raise HTTPError(400, f"the body is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise HTTPError(400, "the body must be a JSON object")
    return {name: named(operation.body, name, "field").read(value) for name, value in content.items()}


def _response(answer: Any) -> Response:  # noqa: ANN401 whatever becomes JSON
    if isinstance(answer, Response):
        response = answer
    else:
        body = json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        response = Response(200, body, {"Content-Type": "application/json"})
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    return response
