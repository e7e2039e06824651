"""The forward action of a watched chain: it notes each attempt in the time account and in the capture, if any."""

from functools import partial
from typing import Final

from gproxy.gateway.route_action import ForwardKind
from gproxy.gateway.watch.capture import CapturedBody
from gproxy.gateway.watch.time_account import (
    BACKEND,
    CONNECT,
    OTHER,
    PAUSE,
    QUEUE,
    Attempt,
    TimeAccount,
    account_of,
    capture_of,
)
from gproxy.gateway.watch.watched_chain import timed
from gproxy.http.framing import Reader
from gproxy.http.headers import Line
from gproxy.http.request import Request
from gproxy.http.response import Response, ResponseHead
from gproxy.http.time_limit import TimeLimit
from gproxy.http.trace import Span
from gproxy.upstream.backend import Backend
from gproxy.upstream.connection import BackendConnection
from gproxy.upstream.failure import Failure, failure_of
from gproxy.upstream.forwarder.forward import Forward
from gproxy.upstream.forwarder.hedge import Outcome
from gproxy.upstream.forwarder.request_head import RequestHeadWriter
from gproxy.upstream.forwarder.response_body import BackendBody

_PARENT: Final = "traceparent"
#: Why an attempt of a hedge has no response that counts: the other one was quicker, or the request has ended.
_CANCELLED: Final = "cancelled"


class CapturedHead(RequestHeadWriter):
    """A writer of request heads that notes in the capture of the request what another one has written."""

    def __init__(self, inner: RequestHeadWriter) -> None:  # it has no fields of its own
        self._inner = inner

    def __call__(self, request: Request, authority: str) -> bytes:
        """Return the head for one attempt."""
        head = self._inner(request, authority)
        capture = capture_of(request)
        if capture is not None:
            capture.sent(request, head)
        return head

    def lines(self, request: Request, authority: str) -> list[Line]:
        """Return the lines of the fields for one attempt over HTTP/2."""
        lines = self._inner.lines(request, authority)
        capture = capture_of(request)
        if capture is not None:
            head = "\r\n".join([f"{request.method} {self.target(request)} HTTP/2.0", *lines, "", ""])
            capture.sent(request, head.encode("latin-1"))
        return lines

    def target(self, request: Request) -> str:
        """Return the target of the request line."""
        return self._inner.target(request)


class WatchedForward(Forward):
    """Forward, which times connecting, the backend, and pauses, and traces each attempt of a sampled request.

    The attempts of a hedge count as the backend's time.
    """

    def _try(self, request: Request, backend: Backend) -> Outcome:
        account, clock = account_of(request), request.deadline.clock
        before, began = account.switch(BACKEND), clock()
        capture = account.capture
        if capture is not None:
            capture.begin(request, self._upstream.name, backend)
        try:
            outcome = self._traced(request, backend) if request.trace.sampled else super()._try(request, backend)
        except BaseException:
            if capture is not None:
                capture.failed(request, backend, _CANCELLED)
            raise
        finally:
            account.switch(before)
        words = _words(outcome)
        account.attempts.append(Attempt(backend.name, words, clock() - began))
        if capture is not None and not isinstance(outcome, Response):
            capture.failed(request, backend, ", ".join(_word(failed.failure) for failed in outcome))
        return outcome

    def _traced(self, request: Request, backend: Backend) -> Outcome:
        """Make the attempt with a span of its own, which the backend continues."""
        with request.trace.attempt(backend.name, request.tries - 1) as span:
            request.headers.put(_PARENT, _PARENT, span.traceparent)
            outcome = super()._try(request, backend)
            if isinstance(outcome, Response):
                _note_head(span, request, outcome.status)
            else:
                span.fail(_words(outcome))
            return outcome

    def _send(self, request: Request, backend: Backend) -> tuple[BackendConnection, ResponseHead]:
        """Send a hedged attempt's request; the copy of the request, whose fields both attempts have, gets its own."""
        capture = capture_of(request)
        if capture is None:
            return self._traced_send(request, backend)
        capture.begin(request, self._upstream.name, backend)
        try:
            return self._traced_send(request, backend)
        except BaseException as error:
            failure = failure_of(error)
            capture.failed(request, backend, _CANCELLED if failure is None else _word(failure))
            raise

    def _traced_send(self, request: Request, backend: Backend) -> tuple[BackendConnection, ResponseHead]:
        if not request.trace.sampled:
            return super()._send(request, backend)
        with request.trace.attempt(backend.name, request.tries - 1) as span:
            request.headers = request.headers.copy()
            request.headers.put(_PARENT, _PARENT, span.traceparent)
            connection, head = super()._send(request, backend)
            _note_head(span, request, head.status)
            return connection, head

    def _response(
        self, request: Request, backend: Backend, connection: BackendConnection, head: ResponseHead
    ) -> Response:
        response = super()._response(request, backend, connection, head)
        capture = capture_of(request)
        if capture is not None:
            capture.answered(request, backend, response)
        return response

    def _body(
        self,
        at_hand: bytes,
        rest: Reader,
        request: Request,
        lease: tuple[Backend, BackendConnection, bool],
        limit: TimeLimit,
    ) -> BackendBody:
        capture = capture_of(request)
        if capture is None or not capture.limit:
            return super()._body(at_hand, rest, request, lease, limit)
        return CapturedBody(at_hand, rest, request, lease, limit, self._record_failure, capture.passed())

    def _lease(self, request: Request, backend: Backend) -> BackendConnection:
        account = account_of(request)
        before = account.switch(CONNECT)
        try:
            connection = super()._lease(request, backend)
        finally:
            account.switch(before)
        request.trace.event("connected")
        return connection

    def _wait(self, request: Request, seconds: float) -> None:
        account: TimeAccount = account_of(request)
        before = account.switch(PAUSE)
        try:
            super()._wait(request, seconds)
        finally:
            account.switch(before)


#: The forward action of watched routes, with the time in the queue of the upstream.
WATCHED: Final = ForwardKind(
    WatchedForward, CapturedHead, around_queue=partial(timed, QUEUE), inside_queue=partial(timed, OTHER)
)


def _note_head(span: Span, request: Request, status: int) -> None:
    """Note the head of the response in the span of an attempt."""
    span.event("first_byte")
    span.set("http.request.method", request.method)
    span.set("http.response.status_code", status)
    if status >= 500:
        span.fail(str(status))


def _word(failure: Failure) -> str:
    """Return the reason of a failure; that of a pooled connection has a word of its own, as `retry_on` has."""
    return "stale" if failure.retryable_as == "stale" else failure.reason


def _words(outcome: Outcome) -> str:
    """Return the status of a response, or the reasons of the failures."""
    if isinstance(outcome, Response):
        return str(outcome.status)
    return ", ".join(failed.failure.reason for failed in outcome)
