"""Hedging: a second attempt at another backend when the first is slow; the first response head wins.

Each attempt runs in a greenlet of its own. The client connection's greenlet can wait for one event only: the first of a
response head, the client's leaving and the deadline.
"""

from collections.abc import Callable, Collection
from typing import Any

import gevent

from gproxy.http.body import NO_BODY
from gproxy.http.phase import HANDLER, WAIT
from gproxy.http.request import Request
from gproxy.http.response import Response, ResponseHead
from gproxy.runtime.client_watch import ClientWatch, detached
from gproxy.runtime.expired import Expired
from gproxy.upstream.backend import Backend
from gproxy.upstream.connection import BackendConnection
from gproxy.upstream.failure import failure_of
from gproxy.upstream.retry import FailedAttempt, RetryPermit
from gproxy.upstream.upstream import Upstream

#: The outcome of an attempt: a response, or the attempts that failed.
Outcome = Response | tuple[FailedAttempt, ...]
#: A function that sends the request to the backend, and returns the leased connection with the response head.
Send = Callable[[Request, Backend], tuple[Any, ResponseHead]]
#: A function that makes a response of a connection and a head, or drops the connection and returns the failure.
Receive = Callable[[Request, Backend, Any, ResponseHead], Outcome]


class HedgedAttempt:
    """An attempt of a hedged request, which runs beside another one."""

    def __init__(self, request: Request, backend: Backend, send: Send, watch: ClientWatch) -> None:
        self.backend = backend
        #: The connection and the response head, once it has arrived.
        self.result: tuple[Any, ResponseHead] | None = None
        self.error: BaseException | None = None
        #: Seconds until the response head, if attempts are timed.
        self.apptime = -1.0
        self._watch = watch
        self._is_closed = False
        self._greenlet = gevent.spawn(self._run, request, send)

    @property
    def is_running(self) -> bool:
        return self.result is None and self.error is None

    @property
    def failed(self) -> FailedAttempt:
        """The failure of this attempt. Raises an error again that is no failure of an attempt, such as the client's."""
        assert self.error is not None  # noqa: S101 the attempt has ended without a result
        failure = failure_of(self.error)
        if failure is None:
            raise self.error
        return FailedAttempt(self.backend, failure, self.error)

    def _run(self, request: Request, send: Send) -> None:
        try:
            with detached(request) as copy:
                self.result = send(copy, self.backend)
                self.apptime = copy.exchange.apptime
        except (Exception, Expired) as error:  # noqa: BLE001 the waiting request raises it
            self.error = error
        if self._is_closed:
            self.close()
        self._watch.wake()

    def close(self) -> None:
        """Cancel the attempt. The cancellation does not count against the backend."""
        self._is_closed = True
        result, self.result = self.result, None
        if result is not None:
            self.backend.drop(result[0])
        else:
            self._greenlet.kill(block=False)


class Hedge:
    """An attempt that starts a second one at another backend after `after` seconds without a response head."""

    def __init__(
        self,
        after: float,
        upstream: Upstream,
        *,
        covers: Callable[[Request], bool],
        retry_statuses: Collection[int],
        send: Send,
        receive: Receive,
        unhedged: Callable[[Request, Backend], Outcome],
    ) -> None:
        self._after = after
        self._upstream = upstream
        self._covers = covers
        #: Retryable statuses: a response with one of them wins only if the other attempt brings nothing better.
        self._retry_statuses = retry_statuses
        self._send = send
        self._receive = receive
        self._unhedged = unhedged

    def __call__(self, request: Request, backend: Backend) -> Outcome:
        """Return the outcome of one or two attempts."""
        if request.body is not NO_BODY or request.upgrade or not self._covers(request):
            return self._unhedged(request, backend)
        attempts: list[HedgedAttempt] = []
        request.phase = WAIT  # the attempts have phases of their own, in copies of the request
        with RetryPermit(self._upstream.budget) as permit:
            try:
                return self._race(request, backend, attempts, permit)
            except Expired as error:
                return self._timed_out(attempts, error)
            finally:
                request.phase = HANDLER
                for attempt in attempts:
                    attempt.close()

    def _race(self, request: Request, backend: Backend, attempts: list[HedgedAttempt], permit: RetryPermit) -> Outcome:
        watch = ClientWatch(request.client_stream, request.deadline)
        attempts.append(HedgedAttempt(request, backend, self._send, watch))
        watch.wait(self._after)
        if attempts[0].is_running and (spare := self._spare(request, backend)) and permit.take():
            request.tries += 1
            attempts.append(HedgedAttempt(request, spare, self._send, watch))
        while any(attempt.is_running for attempt in attempts) and not any(map(self._has_won, attempts)):
            watch.wait()
        for attempt in sorted(attempts, key=self._has_won, reverse=True):
            if attempt.result is not None:
                return self._finish(request, attempt, *attempt.result)
        return tuple(attempt.failed for attempt in attempts)

    def _has_won(self, attempt: HedgedAttempt) -> bool:
        return attempt.result is not None and attempt.result[1].status not in self._retry_statuses

    @staticmethod
    def _timed_out(attempts: list[HedgedAttempt], error: Expired) -> Outcome:
        """Return the failures at the deadline; of two running attempts the first fails: the other had less time."""
        failure = failure_of(error)
        if failure is None:
            raise error
        slow = next(attempt for attempt in attempts if attempt.error is None)
        return (*(attempt.failed for attempt in attempts if attempt.error), FailedAttempt(slow.backend, failure, error))

    def _spare(self, request: Request, backend: Backend) -> Backend | None:
        """Pick a healthy backend for the second attempt: an ejected one would not be quicker."""
        spare = self._upstream.rotation.pick(request, (backend,))
        return spare if spare and spare.is_healthy else None

    def _finish(
        self, request: Request, attempt: HedgedAttempt, connection: BackendConnection, head: ResponseHead
    ) -> Outcome:
        attempt.result = None  # from here on the response owns the connection
        connection.watch_client(request.client_stream)
        request.backend = attempt.backend.name
        request.exchange.apptime = attempt.apptime
        return self._receive(request, attempt.backend, connection, head)
