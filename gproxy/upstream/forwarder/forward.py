"""The forward action: it sends a request to a backend of an upstream, and returns the response.

Comments mark these steps with their numbers:

(1) prepare the request body, so that a retry can send it again
(2) pick a backend
(3) lease a connection: an idle one from the pool, or a new one
(4) compose the request head, anew for each attempt
(5) send the request
(6) read the response head
(7) report the result to passive health
(8) retry, if the policy allows it; Forward has not returned yet, so no byte of the response has gone to the client
(9) return the response; its body streams, unless it arrived together with the head
"""

import math
from collections.abc import Collection
from typing import Final

from gproxy.config.sections.retry import RetryOn
from gproxy.http.body import NO_BODY, Body
from gproxy.http.errors import BadMessage
from gproxy.http.forwarding import max_forwards
from gproxy.http.framing import Reader
from gproxy.http.header_names import is_likely_secret
from gproxy.http.phase import CONNECT, HANDLER, PAUSE
from gproxy.http.request import HeadWriter, Request
from gproxy.http.response import Response, ResponseHead, is_event_stream
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.client_watch import ClientWatch, detached
from gproxy.runtime.expired import Expired
from gproxy.upstream.backend import Backend
from gproxy.upstream.connection import BackendConnection
from gproxy.upstream.failure import RETRYABLE_STATUS, SLOW, as_response_error, failure_of
from gproxy.upstream.forwarder.grpc_attempt import GRPCAttempt
from gproxy.upstream.forwarder.hedge import Hedge, Outcome
from gproxy.upstream.forwarder.replay import ReplayBuffer
from gproxy.upstream.forwarder.response_body import BackendBody
from gproxy.upstream.forwarder.time_limits import AttemptLimits, TimedAttempt
from gproxy.upstream.forwarder.tunnel import Tunnel
from gproxy.upstream.health.passive import GRPCPassiveHealth
from gproxy.upstream.retry import TOO_LARGE, FailedAttempt, RetryPermit, RetryPolicy
from gproxy.upstream.upstream import Upstream

#: The methods whose Max-Forwards field counts (RFC 9110 section 7.6.2).
_COUNTED_METHODS: Final = frozenset({"OPTIONS", "TRACE"})


class Forward:
    """The action of one route that forwards to an upstream.

    `piece_limit` bounds the wait for each piece of a body, `tunnel_limit` that of event streams and tunnels. `retries`,
    `retry_on` and `hedge` override the upstream's options; None keeps them. `read_ahead` bytes of a response are read
    while its client reads slowly.
    """

    def __init__(
        self,
        upstream: Upstream,
        *,
        head: HeadWriter,
        piece_limit: TimeLimit,
        tunnel_limit: TimeLimit,
        retries: int | None,
        retry_on: Collection[RetryOn] | None,
        hedge: float | None,
        read_ahead: int = 0,
    ) -> None:
        settings = upstream.settings
        self._upstream = upstream
        #: PERF: one bound method for all responses
        self._record_failure = upstream.passive.record_failure
        self._policy = RetryPolicy.of(settings.retry, retries=retries, on=retry_on)
        self._retry_statuses = self._policy.statuses
        self._replay, self._spool = settings.retry.replay, settings.retry.spool
        #: True if a backend may refuse a request before it does anything: then any method may be repeated.
        self._may_be_refused = settings.http2 != "no"
        self._piece_limit, self._tunnel_limit = piece_limit, tunnel_limit
        self._write_head = head
        self._read_ahead = read_ahead
        # PERF: chosen here, so that an unconfigured limit or hedge costs a request nothing
        limits = AttemptLimits.of(settings)
        timed = upstream.runtime.times_attempts
        self._first_try = self._next_try = limits.around(TimedAttempt(self._try) if timed else self._try)
        if isinstance(upstream.passive, GRPCPassiveHealth):
            may_retry = self._policy.repeats_unavailable
            self._first_try = self._next_try = GRPCAttempt(self._first_try, upstream.passive, may_retry=may_retry)
        hedge_after = settings.retry.hedge if hedge is None else hedge
        if hedge_after:
            send = limits.around(TimedAttempt(self._send) if timed else self._send)
            self._first_try = Hedge(
                hedge_after,
                upstream,
                covers=self._policy.covers,
                retry_statuses=self._retry_statuses,
                send=send,
                receive=self._receive,
                unhedged=self._first_try,
            )

    def __call__(self, request: Request) -> Response:
        """Return a backend's response to the request.

        An error response of a backend is returned too, unless a retry replaces it. Raise HTTPError: 502, 503 or 504 for
        a failure of the backends, 400 or 413 for a fault of the client, 500 if a recorded body cannot be read again.
        Raise Expired if the client is too slow, ClientGone if it has left, and RuntimeError if a handler has consumed
        the request body.
        """
        client = request.client_stream
        if client is not None and not client.in_own_greenlet():
            return self._forward_detached(request)
        request.upstream = self._upstream.name
        request.reason = ""  # an earlier call of this request may have set it
        if request.deadline.expires <= request.deadline.clock():  # a handler has caught Expired and called again
            raise as_response_error(SLOW)
        if request.body is not NO_BODY:
            self._prepare_body(request, request.body)  # (1)
        if request.method in _COUNTED_METHODS and (response := _count_down(request)) is not None:
            return response
        backend = self._upstream.rotation.pick(request)  # (2)
        if backend is None:
            return self._policy.give_up()
        request.backend = backend.name
        request.tries += 1
        outcome = self._first_try(request, backend)
        if isinstance(outcome, Response) and outcome.status not in self._retry_statuses:
            return outcome  # (9)
        return self._retry(request, backend, outcome)  # (8)

    def _forward_detached(self, request: Request) -> Response:
        """Forward a copy of the request, for a handler that calls from a greenlet of its own.

        The alarm of the client's connection does not reach that greenlet, and the greenlet may outlive the connection.
        So the copy has no client, and an alarm of its own. The response is read completely: a handler that drops it
        would otherwise leak its connection.
        """
        with detached(request) as copy:
            copy.deadline.resume()
            if copy.body is not NO_BODY and copy.body.replayable:
                # Several copies may be sent at the same time: each has its own position in the body.
                copy.body = Body(copy.body.buffer(copy.body.length or 0))
            response = self(copy)
            response.read()
        request.exchange.adopt(copy.exchange)
        return response

    def _prepare_body(self, request: Request, body: Body) -> None:
        """Make the body begin at its first byte, now and for each retry that the policy may allow.

        Rewind a body that is kept or recorded, keep a short one that has arrived completely, and record any other one
        while it is sent. Raise RuntimeError if a handler has consumed the body: the backend would wait for bytes that
        never come.
        """
        if not body.can_begin_again:
            raise RuntimeError("the request body was already read; call request.body.buffer(limit) before reading it")
        buffered = body.buffered
        is_recorded = body.received != buffered  # bytes were read, and can be restored: a handler called next before
        if body.replayable or is_recorded:
            body.rewind()
        elif body.length is not None and buffered == body.length <= self._replay:
            body.buffer(self._replay)
        elif self._is_replayable(request, body):
            body.record(ReplayBuffer(request, self._upstream.runtime, self._replay, self._spool))

    def _is_replayable(self, request: Request, body: Body) -> bool:
        """Return whether a retry may need a recording of the body, and its length and the disk allow one."""
        if not self._policy.retries or not body.may_be_recorded:
            return False
        if not self._may_be_refused and not self._policy.covers(request):
            return False
        return (body.length or 0) <= self._replay + self._spool

    def _retry(self, request: Request, backend: Backend, outcome: Outcome) -> Response:
        """Retry a failed attempt as often as the policy allows, and return the final response (8).

        A response with a retryable status stays open until the next attempt begins: it may be the final one.
        """
        policy = self._policy  # each failure makes a new one, with the history of this request
        with RetryPermit(self._upstream.budget) as permit:
            while True:
                if isinstance(outcome, Response):
                    if outcome.status not in self._retry_statuses:
                        return outcome
                    # After a hedge, `request.backend` names the backend that has responded.
                    responder = next((one for one in self._upstream.backends if one.name == request.backend), backend)
                    outcome = (FailedAttempt(responder, RETRYABLE_STATUS, None, outcome),)
                policy = policy.with_failures(*outcome)
                why_not = policy.why_not(request)  # empty if a retry may follow
                for failed in outcome:
                    self._report(request, failed, why_not)
                next_backend = None
                if not why_not and self._may_begin(request, policy, permit):
                    next_backend = self._next_backend(request, policy)
                if next_backend is None:
                    return policy.give_up()
                backend = next_backend
                if policy.last.response is not None:
                    policy.last.response.close()
                request.body.rewind()
                request.backend = backend.name
                request.tries += 1
                outcome = self._next_try(request, backend)  # unhedged: a hedge might pick a backend that has failed

    def _may_begin(self, request: Request, policy: RetryPolicy, permit: RetryPermit) -> bool:
        """Wait for the policy's backoff, take a retry permit, and return True: the retry may begin.

        Return False if the only backend was tried and must not be asked again, the deadline is nearer than the end of
        the wait, or the retry budget is exhausted.
        """
        runtime, backends = self._upstream.runtime, self._upstream.backends
        untried = len(backends) - len(set(policy.tried))
        if not untried and len(backends) == 1 and not policy.asks_the_same:
            return False
        seconds = policy.pause(runtime.random, runtime.clock, untried=untried > 0)
        if seconds >= request.deadline.remaining():
            return False
        if seconds:
            self._wait(request, seconds)
        if policy.is_free:
            self._upstream.budget.note_free()
            return True
        if self._take_permit(request, policy, permit):
            return True
        self._upstream.passive.warn_throttled("the retry budget is exhausted")
        return False

    def _next_backend(self, request: Request, policy: RetryPolicy) -> Backend | None:
        """Pick an untried backend, else any but the last one, else the same again if the policy allows it."""
        pick = self._upstream.rotation.pick
        return (
            pick(request, policy.tried)
            or pick(request, policy.tried[-1:])
            or (pick(request) if policy.asks_the_same else None)
        )

    def _take_permit(self, request: Request, policy: RetryPolicy, permit: RetryPermit) -> bool:
        """Take a retry permit; wait for one up to `retry_backoff_max`, and return False if none becomes free.

        A wait helps if one backend has failed: permits soon become free. It is short, because it does not help if all
        backends are overloaded. It does not help either if the share of the last second is spent.
        """
        budget = self._upstream.budget
        pauses = math.ceil(policy.backoff_max / policy.backoff) if policy.backoff else 0
        while not permit.take():
            if not pauses or budget.is_spent or policy.backoff >= request.deadline.remaining():
                return False
            pauses -= 1
            self._wait(request, policy.backoff)
        return True

    def _wait(self, request: Request, seconds: float) -> None:
        request.phase = PAUSE
        try:
            with self._upstream.budget.pausing():
                ClientWatch(request.client_stream, request.deadline).wait(seconds)
        finally:
            request.phase = HANDLER

    def _try(self, request: Request, backend: Backend) -> Outcome:
        """Make a complete attempt without a hedge. PERF: `_send` and `_receive` in one call."""
        connection = None
        try:
            connection = self._lease(request, backend)  # (3)
            head = connection.send_request(self._write_head, request, backend.authority)  # (4) (5) (6)
            request.phase = HANDLER
            self._upstream.passive.answered(request, backend, head)  # (7)
            return self._response(request, backend, connection, head)
        except BaseException as error:  # noqa: BLE001 `_failed` raises again what is no failure
            request.phase = HANDLER
            if connection is not None:
                backend.drop(connection)
            return _failed(backend, error)

    def _lease(self, request: Request, backend: Backend) -> BackendConnection:
        """Lease a connection, an idle or a new one."""
        request.phase = CONNECT
        return backend.connection(request)

    def _send(self, request: Request, backend: Backend) -> tuple[BackendConnection, ResponseHead]:
        """Send a hedged attempt's request, and return the leased connection with the response head."""
        connection = self._lease(request, backend)  # (3)
        try:
            return connection, connection.send_request(self._write_head, request, backend.authority)  # (4) (5) (6)
        except BaseException:
            backend.drop(connection)
            raise

    def _receive(
        self, request: Request, backend: Backend, connection: BackendConnection, head: ResponseHead
    ) -> Outcome:
        """Return the response of the hedged attempt that has won."""
        try:
            self._upstream.passive.answered(request, backend, head)  # (7)
            return self._response(request, backend, connection, head)
        except BaseException as error:  # noqa: BLE001 `_failed` raises again what is no failure
            backend.drop(connection)
            return _failed(backend, error)

    def _response(
        self, request: Request, backend: Backend, connection: BackendConnection, head: ResponseHead
    ) -> Response:
        """Return the response, and release its connection now or when its body is closed."""
        if head.status == 101:
            return self._tunnel(request, backend, connection, head)
        headers = head.headers.copy()
        data, rest = connection.receive_body(head.framing)
        if rest is None:
            backend.release(connection, keep=head.keep)
            return Response.forwarded(head.status, head.phrase, headers, data)  # (9)
        if head.status < 400:  # after an error the upload stops (RFC 9112 section 9.5)
            connection.continue_upload(request)
        lease = (backend, connection, head.keep)
        limit = self._tunnel_limit if is_event_stream(headers) else self._piece_limit
        body = self._body(data, rest, request, lease, limit)
        response = Response.forwarded(head.status, head.phrase, headers, body)  # (9)
        response.on_close(body.close)
        if self._read_ahead and request.client_stream is not None:
            request.client_stream.read_ahead(self._read_ahead)
        request.at_end(body.close)  # a handler may drop the response instead of closing it
        return response

    def _body(
        self,
        at_hand: bytes,
        rest: Reader,
        request: Request,
        lease: tuple[Backend, BackendConnection, bool],
        limit: TimeLimit,
    ) -> BackendBody:
        """Return the body of a response that does not arrive whole."""
        return BackendBody(at_hand, rest, request, lease, limit, self._record_failure)

    def _tunnel(
        self, request: Request, backend: Backend, connection: BackendConnection, head: ResponseHead
    ) -> Response:
        protocol = request.upgrade
        if protocol is None or head.upgrade != protocol.lower():  # RFC 9110 section 15.2.2
            raise BadMessage("the backend switched to a protocol that the request did not offer", 502)
        if request.body.on_first_read is not None:  # RFC 9110 section 7.8: a 100 comes first
            raise BadMessage("the backend switched protocols before it asked for the request's body", 502)
        connection.continue_upload(request)
        headers = head.headers.copy()
        headers.discard("content-length")
        headers.put("Upgrade", "upgrade", protocol)
        tunnel = Tunnel(request, backend, connection, self._tunnel_limit)
        request.at_end(tunnel.close)
        return Response.forwarded(101, head.phrase, headers, tunnel)

    def _report(self, request: Request, failed: FailedAttempt, why_not: str) -> None:
        """Report a failed attempt to passive health (7); `why_not` is why no retry follows."""
        if failed.cause is None:  # a response: `answered` has reported it
            if why_not == TOO_LARGE:
                self._upstream.passive.warn_throttled(f"a retryable response was not retried: {why_not}")
            return
        if failed.failure.retryable_as == "never":
            why_not = ""  # the failure itself is the reason
        self._upstream.passive.failed(request, failed.backend, failed.failure, failed.cause, why_not)  # (7)


def _failed(backend: Backend, error: BaseException) -> tuple[FailedAttempt]:
    """Return the failed attempt. Raise an error again that is no failure of an attempt, such as the client's."""
    if isinstance(error, Exception | Expired) and (failure := failure_of(error)) is not None:
        return (FailedAttempt(backend, failure, error),)
    try:
        raise error
    finally:
        del error  # or it would keep this frame, and the frame the error, until the collector of cycles comes


def _count_down(request: Request) -> Response | None:
    """Decrement Max-Forwards; at 0 the gateway is the final recipient and answers (RFC 9110 section 7.6.2)."""
    left = max_forwards(request.headers)
    if left is None:
        return None
    if left > 0:
        request.headers["Max-Forwards"] = str(left - 1)
        return None
    if request.method == "OPTIONS":
        return Response(204)
    # RFC 9110 section 9.3.8: reflect the message as received, without fields that are likely to carry secrets.
    received = request.received
    lines = "".join([f"{name}: {value}\r\n" for name, value in received.headers.items() if not is_likely_secret(name)])
    message = f"TRACE {received.target} {received.protocol}\r\n{lines}\r\n"
    return Response(200, message.encode("latin-1"), {"Content-Type": "message/http"})
