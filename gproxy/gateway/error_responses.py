"""The response to an exception: its status, its reason, and the problem details as JSON or text."""

import json
import logging
from typing import Final

from gproxy.gateway.user_code import place
from gproxy.http.errors import HTTPError
from gproxy.http.negotiate import accepts_json
from gproxy.http.request import Request
from gproxy.http.response import PHRASES, Response
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.state.store import StoreUnavailableError
from gproxy.upstream.errors import BrokenBodyError
from gproxy.upstream.failure import RESET, SILENT, as_response_error, named

_log = logging.getLogger("gproxy")

#: Details of responses for time limits that have a status; others get that of the deadline.
_DETAILS: Final = {
    TimeLimit.DRAINING: "the gateway is stopping",
    TimeLimit.BODY: "the request body did not arrive in time",
    TimeLimit.HEAD: "the request head did not arrive in time",
    TimeLimit.DEADLINE: "the backend did not respond in time",
}


def time_limit_error(expired: Expired) -> HTTPError:
    """Return the error response for a time limit that has expired before a response's head."""
    limit = expired.limit
    if limit == TimeLimit.READ:
        return as_response_error(SILENT, expired)
    limit = limit if limit in _DETAILS else TimeLimit.DEADLINE
    headers = {503: {"Retry-After": "1"}, 504: {"Proxy-Status": "gproxy; error=http_response_timeout"}}
    return HTTPError(limit.status, _DETAILS[limit] + named(expired), headers.get(limit.status, {}), reason=limit.reason)


def respond(error: BaseException, request: Request) -> Response:
    """Return the response for an exception: 500 for an unforeseen one, with its traceback in the error log only."""
    if isinstance(error, Expired):
        expired, error = error, time_limit_error(error)
        if error.status == 504 and not request.tries:  # no backend was tried, so a handler took the time
            what = (request.id, request.method, request.path, named(expired), place(expired))
            _log.warning("%s %s %s: a handler did not finish in time%s%s", *what)
            error = HTTPError(504, f"the request was not handled in time{named(expired)}", reason="handler_timeout")
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
