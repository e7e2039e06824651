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
from copy import copy
from time import monotonic
from typing import Any, Final

import gevent
from greenlet import getcurrent

from gproxy.http.body import NO_BODY, Body
from gproxy.http.errors import BadMessage
from gproxy.http.forwarding import max_forwards
from gproxy.http.headers import SECRET_FIELDS
from gproxy.http.request import Deadline, Request
from gproxy.http.response import Response
from gproxy.runtime.expired import Expired
from gproxy.upstream.answer import Answer
from gproxy.upstream.backend import Backend
from gproxy.upstream.body import BackendBody, narrowed
from gproxy.upstream.compose import Composer
from gproxy.upstream.failure import IDEMPOTENT, NONE_AVAILABLE, SLOW, Failure, as_response_error, failure_of
from gproxy.upstream.tunnel import Tunnel
from gproxy.upstream.upstream import Upstream

#: Max-Forwards counts for these (RFC 9110 section 7.6.2).
_COUNTED: Final = frozenset({"OPTIONS", "TRACE"})
#: How many stale connections may be met on the way, besides the retries.
_STALE_TRIES: Final = 3
#: A body up to this is kept for another attempt, if it is there already, in bytes.
_REPLAY: Final = 64 * 1024


class Forward:
    """Sends requests of one route to its upstream."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        head: Composer | None = None,
        stream: bool = False,
        tunnel_timeout: float = 3600.0,
    ) -> None:
        self._upstream = upstream
        self._retries = upstream.settings.retries
        self._first_byte = upstream.settings.first_byte_timeout
        self._read = upstream.settings.read_timeout
        self._head = head or Composer(host=upstream.settings.host)
        self._stream = stream
        self._tunnel_timeout = tunnel_timeout

    def __call__(self, request: Request) -> Response:
        """Raises HTTPError 502, 503, 504 for the backends' faults, 400, 408, 413 for the client's, and ClientGone."""
        client = request.connection
        if client is not None and getcurrent() is not client.alarm.greenlet:
            return self._aside(request)
        request.upstream = self._upstream.name
        if request.deadline.expires <= monotonic():  # a handler has swallowed that it was over
            raise as_response_error(SLOW)
        tried: tuple[Backend, ...] = ()
        failure: Failure | None = NONE_AVAILABLE
        body = request.body
        if body is not NO_BODY:
            _prepare(body)  # (1)
        if request.method in _COUNTED and (answer := _count_down(request)) is not None:
            return answer
        while True:
            backend = self._upstream.pick(request, tried) or self._upstream.pick(request, tried[-1:])  # (3)
            if backend is None:
                raise as_response_error(failure or NONE_AVAILABLE)
            request.backend = backend.name
            request.tries += 1
            try:
                return self._attempt(request, backend)
            except Exception as error:
                failure = failure_of(error)
                cause: BaseException = error
            except Expired as error:
                failure = failure_of(error)
                cause = error
            if failure is None:
                raise cause
            self._upstream.failed(request, backend, failure, cause)  # (7)
            if failure.blames:
                tried = (*tried, backend)
            else:
                backend.forget_idle()
            if not self._may_try_again(request, failure, len(tried)):  # (8)
                raise as_response_error(failure) from None
            body.rewind()

    def _aside(self, request: Request) -> Response:
        """A handler asks from a greenlet of its own, which the connection's alarm does not reach and may outlive it.

        So the request goes as a copy that knows neither the client nor the alarm, under a timeout of the same length,
        and the response is read whole: nobody would close it if the handler just dropped it.
        """
        twin = copy(request)
        twin.connection = twin.upgrade = None
        twin.deadline = Deadline()
        twin.deadline.expires = request.deadline.expires
        if twin.body is not NO_BODY and twin.body.replayable:  # others read it too, each from the beginning
            twin.body = Body(twin.body.buffer(twin.body.length or 0))
        left = twin.deadline.remaining()
        expired = Expired("deadline")
        with gevent.Timeout(None if left == math.inf else left, expired):
            response = self(twin)
            response.read()
        request.upstream, request.backend, request.tries = twin.upstream, twin.backend, twin.tries
        return response

    def _attempt(self, request: Request, backend: Backend) -> Response:
        connection = backend.connection(request.deadline)  # (4)
        try:
            head = self._head(request, backend)  # (2)
            if self._first_byte is None:
                answer = connection.exchange(head, request)  # (5) (6)
            else:
                answer = self._exchange_in_time(connection, head, request)
            self._upstream.answered(request, backend, answer.status)  # (7)
            return self._response(request, backend, connection, answer)
        except BaseException:
            backend.drop(connection)
            raise

    def _exchange_in_time(self, connection: Any, head: bytes, request: Request) -> Answer:
        with narrowed(request, self._first_byte or math.inf, "first_byte"):
            answer: Answer = connection.exchange(head, request)
        return answer

    def _response(self, request: Request, backend: Backend, connection: Any, answer: Answer) -> Response:
        headers = answer.headers.copy()
        if answer.status == 101:
            return self._tunnel(request, backend, connection, answer)
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
        if self._stream:
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

    def _may_try_again(self, request: Request, failure: Failure, failed: int) -> bool:
        if failure.again == "never" or request.deadline.remaining() <= 0:
            return False
        body = request.body
        if failure.again == "idempotent" and not (_is_idempotent(request) and (body.replayable or not body.received)):
            return False
        if not failure.blames:  # a stale pooled connection: once more is free
            return request.tries <= self._retries + _STALE_TRIES
        return failed <= self._retries


def _is_idempotent(request: Request) -> bool:
    """By its method (RFC 9110 section 9.2.2), or because the client has made it so with a key."""
    return request.method in IDEMPOTENT or "idempotency-key" in request.headers


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


def _prepare(body: Body) -> None:
    """Have the body at its beginning, and kept for another attempt if that costs nothing.

    Raises RuntimeError if there is no beginning any more: the backend would wait for what never comes.
    """
    if body.replayable:
        body.rewind()  # a handler has called next before
    elif body.received != len(body.at_hand):
        raise RuntimeError("the request's body was read before; request.body.buffer(limit) would have kept it")
    elif body.length is not None and len(body.at_hand) == body.length <= _REPLAY:
        body.buffer(_REPLAY)
