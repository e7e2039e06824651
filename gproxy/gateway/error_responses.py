"""The response to an exception: its status, its reason, and the problem details as JSON, as a page or as text."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from json.encoder import encode_basestring_ascii as _quoted
from typing import Final

from gproxy.config.types.error_page import ErrorPage
from gproxy.gateway.error_pages import ErrorPages
from gproxy.gateway.user_code import place
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.negotiate import error_kind
from gproxy.http.request import Request
from gproxy.http.response import PHRASES, Response
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.state.store import StoreUnavailableError
from gproxy.upstream.errors import BrokenBodyError
from gproxy.upstream.failure import RESET, SILENT, as_response_error, named

_log = logging.getLogger("gproxy")

#: The headers of a replaced response that say what a client may do next.
_KEPT: Final = ("Retry-After", "WWW-Authenticate", "Allow")
_NO_PAGES: Final[Mapping[str, Iterable[ErrorPage]]] = {}
_NO_FIELDS: Final[Mapping[str, str]] = {}
#: A function that may have another response to a mistake of a handler or an app: (exception, error, request).
ErrorView = Callable[[BaseException, HTTPError, Request], Response | None]

#: The reasons of a mistake in a handler, and of one that was too slow.
_HANDLER_ERROR: Final = "handler_error"
_HANDLER_TIMEOUT: Final = "handler_timeout"

#: Details of responses for time limits that have a status; others get that of the deadline.
_DETAILS: Final = {
    TimeLimit.DRAINING: "the gateway is stopping",
    TimeLimit.CUT: "an operator has ended the request",
    TimeLimit.BODY: "the request body did not arrive in time",
    TimeLimit.RATE: "the request body arrived too slowly",
    TimeLimit.HEAD: "the request head did not arrive in time",
    TimeLimit.DEADLINE: "the backend did not respond in time",
    TimeLimit.CALL: "the call has taken longer than its client allows",
}


def time_limit_error(expired: Expired) -> HTTPError:
    """Return the error response for a time limit that has expired before a response's head."""
    limit = expired.limit
    if limit == TimeLimit.READ:
        return as_response_error(SILENT, expired)
    limit = limit if limit in _DETAILS else TimeLimit.DEADLINE
    headers = {503: {"Retry-After": "1"}, 504: {"Proxy-Status": "gproxy; error=http_response_timeout"}}
    return HTTPError(limit.status, _DETAILS[limit] + named(expired), headers.get(limit.status, {}), reason=limit.reason)


class ErrorResponses:
    """The error responses of a gateway, with the pages of `[errors]` by the name of their option: `404` or `5xx`.

    `replaced` are the statuses of backends whose responses are replaced. `fields` are in every error response. `views`
    are asked in their order for the response to a mistake of a handler or an app.
    """

    def __init__(
        self,
        pages: Mapping[str, Iterable[ErrorPage]] = _NO_PAGES,
        replaced: frozenset[int] = frozenset(),
        fields: Mapping[str, str] = _NO_FIELDS,
        views: Sequence[ErrorView] = (),
    ) -> None:
        self._pages = ErrorPages(pages)
        self._replaced = replaced
        self._fields = fields
        self._views = views
        #: How often each handler has failed, by its identity: a handler may have no hash.
        self._failures: dict[int, int] = {}

    def around(self, forward: Next) -> Next:
        """Return the forward action with its replaced responses; the action itself if none are to be replaced."""
        if not self._replaced:
            return forward

        def replacing(request: Request) -> Response:
            response = forward(request)
            return self._replacement(response, request) if response.status in self._replaced else response

        return replacing

    def _replacement(self, response: Response, request: Request) -> Response:
        """Close the response of a backend, and return the gateway's own for its status."""
        headers = {name: value for name in _KEPT if (value := response.headers.get(name)) is not None}
        headers["Proxy-Status"] = f"gproxy; received-status={response.status}"
        response.close()
        return self.respond(HTTPError(response.status, headers=headers, reason="backend_status"), request)

    def respond(self, error: BaseException, request: Request) -> Response:
        """Return the response for an exception: 500 for an unforeseen one, with its traceback in the error log only."""
        found = _as_http_error(error, request)
        request.reason = found.reason
        request.trace.record(error)
        if found.reason in (_HANDLER_ERROR, _HANDLER_TIMEOUT) and found is not error:
            for view in self._views:
                response = view(error, found, request)
                if response is not None:
                    return response
        return self.problem(found, request.id, request.headers.get("accept"))

    def failed(self, handler: object, error: BaseException, request: Request) -> Response:
        """Return the response for an exception of this handler, and count it unless it is meant for the client."""
        response = self.respond(error, request)
        if request.reason in (_HANDLER_ERROR, _HANDLER_TIMEOUT) and not isinstance(error, HTTPError):
            self.count(handler)
        return response

    def count(self, handler: object) -> None:
        """Count an error of the handler."""
        self._failures[id(handler)] = self._failures.get(id(handler), 0) + 1

    def failures(self, handler: object) -> int:
        """Return how often the handler has failed."""
        return self._failures.get(id(handler), 0)

    def problem(self, error: HTTPError, request_id: str, accept: str | None = None) -> Response:
        """Return an error as the client prefers it: as RFC 9457 problem details, as a page, or as plain text."""
        title = PHRASES.get(error.status, "Error")
        values = {"status": str(error.status), "title": title, "detail": error.detail, "id": request_id}
        page = self._pages.fill(error_kind(accept), error.status, values)
        media_type, text = page or ("application/problem+json", _problem_details(error, title, request_id))
        response = Response(error.status, text.encode("utf-8", "replace"))
        headers = response.headers
        headers.put("Content-Type", "content-type", media_type)
        headers.put("Cache-Control", "cache-control", "no-store")
        headers.put("Vary", "vary", "Accept")
        if self._fields:
            headers.update(self._fields)
        if error.headers:
            headers.update(error.headers)
            if varies := error.headers.get("vary"):
                headers["Vary"] = f"Accept, {varies}"
        return response


def _problem_details(error: HTTPError, title: str, request_id: str) -> str:
    """Return the error in JSON, without the members that are empty; PERF: `json.dumps` costs 3 µs."""
    detail = f', "detail": {_quoted(error.detail)}' if error.detail else ""
    own_id = f', "request_id": {_quoted(request_id)}' if request_id else ""
    return f'{{"status": {error.status!s}, "title": {_quoted(title)}{detail}{own_id}}}'


def _as_http_error(error: BaseException, request: Request) -> HTTPError:
    """Return the error for the client. Log what is a mistake of a handler or of a backend."""
    if isinstance(error, HTTPError):
        return error
    if isinstance(error, Expired):
        late = time_limit_error(error)
        if late.status != 504 or error.limit == TimeLimit.CALL or (request.tries and error.limit != TimeLimit.HANDLER):
            return late
        # no backend was tried, or it was not the backend's time: a handler took it
        what = (request.id, request.method, request.path, named(error), place(error))
        _log.warning("%s %s %s: a handler did not finish in time%s%s", *what)
        return HTTPError(504, f"the request was not handled in time{named(error)}", reason=_HANDLER_TIMEOUT)
    if isinstance(error, BrokenBodyError):  # a handler was reading the body: nothing has been sent yet
        where = (request.id, request.method, request.path, request.backend)
        _log.warning("%s %s %s: backend %s broke off its response: %s", *where, error)
        return as_response_error(RESET)
    if isinstance(error, StoreUnavailableError):
        wait = {"Retry-After": str(error.retry_after)}
        return HTTPError(503, "the store of the gateway is temporarily unavailable", wait, reason="store_unavailable")
    _log.error("%s %s %s: a handler failed", request.id, request.method, request.path, exc_info=error)
    return HTTPError(500, "internal error while handling the request", reason=_HANDLER_ERROR)


#: The error responses without pages of the user.
PLAIN: Final = ErrorResponses()
