"""The last step of every chain: a request to a backend, its response back.

The steps, with the same numbers in the code:

(1) decide whether the body can be sent a second time
(2) compose the head, anew for each attempt
(3) pick a backend that was not tried yet
(4) lease a connection: pooled, or connected now
(5) send the request through it
(6) read the response head
(7) tell health how it went
(8) try again? only before the first byte went to the client, and only what is safe
(9) hand out a response, which streams unless it came whole
"""

import math
from collections.abc import Collection
from time import monotonic
from typing import Any, Final

from greenlet import getcurrent

from gproxy.config.sections.retry import RetryOn
from gproxy.http.body import NO_BODY, Body
from gproxy.http.errors import BadMessage
from gproxy.http.forwarding import max_forwards
from gproxy.http.headers import SECRET_FIELDS
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.runtime.expired import Expired
from gproxy.upstream.backend import Backend
from gproxy.upstream.failure import SLOW, TURNED_AWAY, as_response_error, failure_of
from gproxy.upstream.forwarder.client_watch import Vigil, apart
from gproxy.upstream.forwarder.hedge import Hedge, Outcome
from gproxy.upstream.forwarder.replay import Recording
from gproxy.upstream.forwarder.request_head import Composer
from gproxy.upstream.forwarder.response_body import BackendBody
from gproxy.upstream.forwarder.time_limits import Timeouts
from gproxy.upstream.forwarder.tunnel import Tunnel
from gproxy.upstream.http1.response_head import Answer
from gproxy.upstream.retry import TOO_LARGE, Failed, Permit, RetryPolicy
from gproxy.upstream.upstream import Upstream

#: Max-Forwards counts for these (RFC 9110 section 7.6.2).
_COUNTED: Final = frozenset({"OPTIONS", "TRACE"})


class Forward:
    """Sends requests of one route to its upstream. `retries`, `retry_on`, `hedge`: None for the upstream's own."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        head: Composer,
        stream: bool,
        tunnel_timeout: float,
        retries: int | None,
        retry_on: Collection[RetryOn] | None,
        hedge: float | None,
    ) -> None:
        settings = upstream.settings
        self._upstream = upstream
        self._policy = RetryPolicy.of(settings, retries=retries, on=retry_on)
        self._unwanted = self._policy.statuses
        self._replay, self._spool = settings.replay, settings.spool
        self._read = settings.read_timeout
        self._head = head
        self._stream = stream
        self._tunnel_timeout = tunnel_timeout
        # PERF: decided here, so that a request costs nothing for what is not configured
        timeouts = Timeouts.of(settings)
        self._attempt = self._attempt_again = timeouts.around(self._attempt_at)
        if after := settings.hedge if hedge is None else hedge:
            lane = timeouts.around(self._reach)
            self._attempt = Hedge(
                after, upstream, covers=self._policy.covers, unwanted=self._unwanted, reach=lane,
                hand_out=self._hand_out, alone=self._attempt,
            )

    def __call__(self, request: Request) -> Response:
        """Raises HTTPError 502, 503, 504 for the backends' faults, 400, 408, 413 for the client's, and ClientGone."""
        client = request.connection
        if client is not None and getcurrent() is not client.alarm.greenlet:
            return self._aside(request)
        request.upstream = self._upstream.name
        request.reason = ""  # what came of an earlier call is no news any more
        if request.deadline.expires <= monotonic():  # a handler has swallowed that it was over
            raise as_response_error(SLOW)
        if request.body is not NO_BODY:
            self._prepare(request, request.body)  # (1)
        if request.method in _COUNTED and (answer := _count_down(request)) is not None:
            return answer
        backend = self._upstream.pick(request)  # (3)
        if backend is None:
            return self._policy.give_up()
        request.backend = backend.name
        request.tries += 1
        outcome = self._attempt(request, backend)
        if isinstance(outcome, Response) and outcome.status not in self._unwanted:
            return outcome  # (9)
        return self._try_again(request, backend, outcome)  # (8)

    def _aside(self, request: Request) -> Response:
        """A handler asks from a greenlet of its own, which the connection's alarm does not reach and may outlive it.

        So the request goes as a copy that knows neither the client nor the alarm, under one of its own, and the
        response is read whole: nobody would close it if the handler just dropped it.
        """
        with apart(request) as twin:
            twin.deadline.set(request.deadline.expires)
            if twin.body is not NO_BODY and twin.body.replayable:  # others read it too, each from the beginning
                twin.body = Body(twin.body.buffer(twin.body.length or 0))
            response = self(twin)
            response.read()
        request.upstream, request.backend, request.tries = twin.upstream, twin.backend, twin.tries
        request.reason = twin.reason
        return response

    def _prepare(self, request: Request, body: Body) -> None:
        """Have the body at its beginning, and kept for another attempt if it can be and there may be one.

        Raises RuntimeError if there is no beginning any more: the backend would wait for what never comes.
        """
        at_hand = len(body.at_hand)
        if not body.can_begin_again:
            raise RuntimeError("the request's body was read before; request.body.buffer(limit) would have kept it")
        if body.replayable or body.received != at_hand:
            body.rewind()  # a handler has called next before
        elif body.length is not None and at_hand == body.length <= self._replay:
            body.buffer(self._replay)
        elif self._policy.retries and self._policy.covers(request) and (body.length or 0) <= self._replay + self._spool:
            body.record(Recording(request, self._upstream.runtime, self._replay, self._spool))

    def _try_again(self, request: Request, backend: Backend, outcome: Outcome) -> Response:
        """(8) As often as the policy says; while an answer may be the last it stays in hand."""
        tries = self._policy
        with Permit(self._upstream.budget) as permit:
            while True:
                if isinstance(outcome, Response):
                    if outcome.status not in self._unwanted:
                        return outcome
                    winner = next((one for one in self._upstream.backends if one.name == request.backend), backend)
                    outcome = (Failed(winner, TURNED_AWAY, None, outcome),)
                tries = tries.after(*outcome)
                why_not = tries.why_not(request)
                for failed in outcome:
                    self._note(request, failed, why_not)
                found = None if why_not or not self._pause(request, tries, permit) else self._next(request, tries)
                if found is None:
                    return tries.give_up()
                backend = found
                if tries.last.response is not None:
                    tries.last.response.close()
                request.body.rewind()
                request.backend = backend.name
                request.tries += 1
                outcome = self._attempt_again(request, backend)  # a hedge might ask one that has failed already

    def _pause(self, request: Request, tries: RetryPolicy, permit: Permit) -> bool:
        """Wait as long as the policy says; False if that would take too long, or there are too many who try again."""
        runtime, backends = self._upstream.runtime, self._upstream.backends
        others = len(backends) - len(set(tries.tried))
        if not others and len(backends) == 1 and not tries.asks_the_same:
            return False
        seconds = tries.pause(runtime.random, runtime.clock, others=others > 0)
        if seconds >= request.deadline.remaining():
            return False
        if seconds:
            self._wait(request, seconds)
        if tries.is_free or self._has_room(request, tries, permit):
            return True
        self._upstream.complain("the retry budget is spent")
        return False

    def _next(self, request: Request, tries: RetryPolicy) -> Backend | None:
        """One that was not tried, else another than the last, else perhaps the same again."""
        pick = self._upstream.pick
        return (
            pick(request, tries.tried)
            or pick(request, tries.tried[-1:])
            or (pick(request) if tries.asks_the_same else None)
        )

    def _has_room(self, request: Request, tries: RetryPolicy, permit: Permit) -> bool:
        """Now, or within one longest pause: soon if only one backend has died, not if all have too much to do."""
        pauses = math.ceil(tries.backoff_max / tries.backoff) if tries.backoff else 0
        while not permit.take():
            if not pauses or tries.backoff >= request.deadline.remaining():
                return False
            pauses -= 1
            self._wait(request, tries.backoff)
        return True

    def _wait(self, request: Request, seconds: float) -> None:
        with self._upstream.budget.pausing():
            Vigil(request.connection).wait(seconds)

    def _attempt_at(self, request: Request, backend: Backend) -> Outcome:
        connection = None
        try:
            connection = backend.connection(request.deadline)  # (4)
            answer = connection.exchange(self._head(request, backend), request)  # (2) (5) (6)
            self._upstream.answered(request, backend, answer.status)  # (7)
            return self._response(request, backend, connection, answer)
        except BaseException as error:
            if connection is not None:
                backend.drop(connection)
            return _failed(backend, error)

    def _reach(self, request: Request, backend: Backend) -> tuple[Any, Answer]:
        """The first half of an attempt, for a lane of a race."""
        connection = backend.connection(request.deadline)  # (4)
        try:
            return connection, connection.exchange(self._head(request, backend), request)  # (2) (5) (6)
        except BaseException:
            backend.drop(connection)
            raise

    def _hand_out(self, request: Request, backend: Backend, connection: Any, answer: Answer) -> Outcome:
        """The second half, for whichever has won."""
        try:
            self._upstream.answered(request, backend, answer.status)  # (7)
            return self._response(request, backend, connection, answer)
        except BaseException as error:
            backend.drop(connection)
            return _failed(backend, error)

    def _response(self, request: Request, backend: Backend, connection: Any, answer: Answer) -> Response:
        if answer.status == 101:
            return self._tunnel(request, backend, connection, answer)
        headers = answer.headers.copy()
        data, rest = connection.receive_body(answer.framing)
        if rest is None:
            backend.release(connection, keep=answer.keep)
            return Response.forwarded(answer.status, answer.phrase, headers, data)  # (9)
        if answer.status < 400:
            connection.carry_on(request)
        lease = (backend, connection, answer.keep)
        body = BackendBody(data, rest, request, lease, self._read, self._upstream.blame)
        response = Response.forwarded(answer.status, answer.phrase, headers, body)  # (9)
        response.on_close(body.close)
        request.at_end(body.close)  # a handler may drop the response instead of closing it
        if self._stream and answer.status not in self._unwanted:  # those may be tried again, in what time is left
            request.deadline.set(math.inf)
        return response

    def _tunnel(self, request: Request, backend: Backend, connection: Any, answer: Answer) -> Response:
        if request.upgrade is None or answer.upgrade != request.upgrade:  # RFC 9110 section 15.2.2
            raise BadMessage("switched to a protocol that was not asked for", 502)
        headers = answer.headers.copy()
        headers.discard("content-length")
        tunnel = Tunnel(request, backend, connection, self._tunnel_timeout)
        request.at_end(tunnel.close)
        return Response.forwarded(101, answer.phrase, headers, tunnel)

    def _note(self, request: Request, failed: Failed, why_not: str) -> None:
        if failed.cause is None:  # an answer, which health knows of
            if why_not == TOO_LARGE:
                self._upstream.complain(f"an answer was not tried again: {why_not}")
            return
        if failed.failure.again == "stale":
            failed.backend.forget_idle()
        unless = "" if failed.failure.again == "never" else why_not
        self._upstream.failed(request, failed.backend, failed.failure, failed.cause, unless)  # (7)


def _failed(backend: Backend, error: BaseException) -> tuple[Failed]:
    """The attempt as it failed. Raises what no backend is to blame for."""
    if isinstance(error, Exception | Expired) and (failure := failure_of(error)) is not None:
        return (Failed(backend, failure, error),)
    raise error


def _count_down(request: Request) -> Response | None:
    """Max-Forwards (RFC 9110 section 7.6.2): at 0 we are the final recipient, and answer."""
    left = max_forwards(request.headers)
    if left is None:
        return None
    if left > 0:
        request.headers["Max-Forwards"] = str(left - 1)
        return None
    if request.method == "OPTIONS":
        return Response(204)
    # RFC 9110 section 9.3.8: what came, without what is secret.
    lines = request.headers.lines_without(SECRET_FIELDS)
    received = f"TRACE {request.received.target} {request.received.protocol}\r\n{lines}\r\n"
    return Response(200, received.encode("latin-1"), {"Content-Type": "message/http"})
