"""One table for errors: exception to status, reason and response."""

import json
import logging

from gproxy.gateway.user_code import place
from gproxy.http.errors import HTTPError
from gproxy.http.negotiate import accepts_json
from gproxy.http.request import Request
from gproxy.http.response import PHRASES, Response
from gproxy.runtime.expired import Expired
from gproxy.state.errors import StoreUnavailableError
from gproxy.upstream.errors import BrokenBodyError
from gproxy.upstream.failure import RESET, SILENT, as_response_error

_log = logging.getLogger("gproxy")

#: The response for each time limit.
_EXPIRED = {
    "draining": HTTPError(503, "the gateway is stopping", {"Retry-After": "1"}, reason="draining"),
    "body": HTTPError(408, "the request body did not arrive in time", reason="client_timeout"),
    "head": HTTPError(408, "the request head did not arrive in time", reason="client_timeout"),
    "deadline": HTTPError(
        504,
        "the backend did not respond in time",
        {"Proxy-Status": "gproxy; error=http_response_timeout"},
        reason="backend_timeout",
    ),
    "read": as_response_error(SILENT),
}


def respond(error: BaseException, request: Request) -> Response:
    """Return the response for an exception: 500 for an unforeseen one, with its traceback in the error log only."""
    if isinstance(error, Expired):
        expired, error = error, _EXPIRED.get(error.what, _EXPIRED["deadline"])
        if error.status == 504 and not request.tries:  # no backend was tried, so a handler took the time
            what = (request.id, request.method, request.path, place(expired))
            _log.warning("%s %s %s: a handler did not finish in time%s", *what)
            error = HTTPError(504, "the request was not handled in time", reason="handler_timeout")
    elif isinstance(error, BrokenBodyError):  # a handler was reading the body: nothing has been sent yet
        where = (request.id, request.method, request.path, request.backend)
        _log.warning("%s %s %s: backend %s broke off its response: %s", *where, error)
        error = as_response_error(RESET)
    elif isinstance(error, StoreUnavailableError):
        wait = {"Retry-After": str(error.retry_after)}
        error = HTTPError(503, "rate limits are temporarily unavailable", wait, reason="store_unavailable")
    elif not isinstance(error, HTTPError):
        _log.error("%s %s %s: a handler failed", request.id, request.method, request.path, exc_info=error)
        error = HTTPError(500, "internal error while handling the request", reason="handler_error")
    request.reason = error.reason
    return problem(error, request.id, request.headers.get("accept"))


def problem(error: HTTPError, request_id: str, accept: str | None = None) -> Response:
    """Return an error as RFC 9457 problem details, or as plain text for a client that does not accept JSON."""
    title = PHRASES.get(error.status, "Error")
    if accepts_json(accept):
        members = {"status": error.status, "title": title, "detail": error.detail, "request_id": request_id}
        body, kind = json.dumps({k: v for k, v in members.items() if v}).encode(), "application/problem+json"
    else:
        body, kind = f"{error.status} {title}: {error.detail} ({request_id})\n".encode(), "text/plain; charset=utf-8"
    response = Response(error.status, body, {"Content-Type": kind})
    response.headers.update(error.headers)
    return response
