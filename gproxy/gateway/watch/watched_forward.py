"""The forward action of a watched chain: it notes the parts of each attempt in the time account."""

from functools import partial
from typing import Final

from gproxy.gateway.route_action import ForwardKind
from gproxy.gateway.watch.time_account import BACKEND, CONNECT, OTHER, PAUSE, QUEUE, Attempt, TimeAccount, account_of
from gproxy.gateway.watch.watched_chain import timed
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.trace import Span
from gproxy.upstream.backend import Backend
from gproxy.upstream.forwarder.forward import Forward
from gproxy.upstream.forwarder.hedge import Outcome
from gproxy.upstream.http1.connection import HTTP1Connection
from gproxy.upstream.http1.response_head import ResponseHead

_PARENT: Final = "traceparent"


class WatchedForward(Forward):
    """Forward, which times connecting, the backend, and pauses, and traces each attempt of a sampled request.

    The attempts of a hedge count as the backend's time.
    """

    def _try(self, request: Request, backend: Backend) -> Outcome:
        account, clock = account_of(request), request.deadline.clock
        before, began = account.switch(BACKEND), clock()
        try:
            outcome = self._traced(request, backend) if request.trace.sampled else super()._try(request, backend)
        finally:
            account.switch(before)
        account.attempts.append(Attempt(backend.name, _words(outcome), clock() - began))
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

    def _send(self, request: Request, backend: Backend) -> tuple[HTTP1Connection, ResponseHead]:
        """Send a hedged attempt's request; the copy of the request, whose fields both attempts have, gets its own."""
        if not request.trace.sampled:
            return super()._send(request, backend)
        with request.trace.attempt(backend.name, request.tries - 1) as span:
            request.headers = request.headers.copy()
            request.headers.put(_PARENT, _PARENT, span.traceparent)
            connection, head = super()._send(request, backend)
            _note_head(span, request, head.status)
            return connection, head

    def _lease(self, request: Request, backend: Backend) -> HTTP1Connection:
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
WATCHED: Final = ForwardKind(WatchedForward, around_queue=partial(timed, QUEUE), inside_queue=partial(timed, OTHER))


def _note_head(span: Span, request: Request, status: int) -> None:
    """Note the head of the response in the span of an attempt."""
    span.event("first_byte")
    span.set("http.request.method", request.method)
    span.set("http.response.status_code", status)
    if status >= 500:
        span.fail(str(status))


def _words(outcome: Outcome) -> str:
    """Return the status of a response, or the reasons of the failures."""
    if isinstance(outcome, Response):
        return str(outcome.status)
    return ", ".join(failed.failure.reason for failed in outcome)
