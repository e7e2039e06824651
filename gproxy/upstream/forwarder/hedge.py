"""Asking a second backend when the first takes its time; the first response head wins.

Each of the two has a greenlet of its own, a lane, because the connection's greenlet can wait for one thing only: here
for whichever comes first of an answer, the client's leaving and the deadline.
"""

from collections.abc import Callable, Collection
from typing import Any

import gevent

from gproxy.http.body import NO_BODY
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.runtime.expired import Expired
from gproxy.upstream.backend import Backend
from gproxy.upstream.failure import failure_of
from gproxy.upstream.forwarder.client_watch import ClientWatch, detached
from gproxy.upstream.http1.response_head import ResponseHead
from gproxy.upstream.retry import FailedAttempt, RetryPermit
from gproxy.upstream.upstream import Upstream

#: What an attempt comes to: a response, or the attempts that failed.
Outcome = Response | tuple[FailedAttempt, ...]
#: Sends the request to the backend, and reads the head; the connection is leased then.
Reach = Callable[[Request, Backend], tuple[Any, ResponseHead]]
#: Makes a response of that, or drops the connection.
HandOut = Callable[[Request, Backend, Any, ResponseHead], Outcome]


class HedgedAttempt:
    """One of the attempts of a race."""

    def __init__(self, request: Request, backend: Backend, reach: Reach, vigil: ClientWatch) -> None:
        self.backend = backend
        #: The connection and what came over it, once it has come.
        self.answer: tuple[Any, ResponseHead] | None = None
        self.error: BaseException | None = None
        self._vigil = vigil
        self._is_over = False
        self._greenlet = gevent.spawn(self._run, request, reach)

    @property
    def is_running(self) -> bool:
        return self.answer is None and self.error is None

    @property
    def failed(self) -> FailedAttempt:
        """How it failed. Raises what no backend is to blame for."""
        assert self.error is not None  # noqa: S101 whoever asks has seen that it is not running
        failure = failure_of(self.error)
        if failure is None:
            raise self.error
        return FailedAttempt(self.backend, failure, self.error)

    def _run(self, request: Request, reach: Reach) -> None:
        try:
            with detached(request) as twin:
                self.answer = reach(twin, self.backend)
        except (Exception, Expired) as error:
            self.error = error
        if self._is_over:
            self.close()
        self._vigil.wake()

    def close(self) -> None:
        """The race is over: nobody wants its answer any more, and the backend is not to blame for that."""
        self._is_over = True
        answer, self.answer = self.answer, None
        if answer is not None:
            self.backend.drop(answer[0])
        else:
            self._greenlet.kill(block=False)


class Hedge:
    """Attempts at one backend that call a second one for help."""

    def __init__(
        self,
        after: float,
        upstream: Upstream,
        *,
        covers: Callable[[Request], bool],
        retry_statuses: Collection[int],
        reach: Reach,
        hand_out: HandOut,
        alone: Callable[[Request, Backend], Outcome],
    ) -> None:
        self._after = after
        self._upstream = upstream
        self._covers = covers
        #: Statuses that are tried again: they win only if nothing better comes.
        self._retry_statuses = retry_statuses
        self._reach = reach
        self._hand_out = hand_out
        self._alone = alone

    def __call__(self, request: Request, backend: Backend) -> Outcome:
        if request.body is not NO_BODY or request.upgrade or not self._covers(request):
            return self._alone(request, backend)
        lanes: list[HedgedAttempt] = []
        with RetryPermit(self._upstream.budget) as permit:
            try:
                return self._race(request, backend, lanes, permit)
            except Expired as error:
                return self._too_late(lanes, error)
            finally:
                for lane in lanes:
                    lane.close()

    def _race(self, request: Request, backend: Backend, lanes: list[HedgedAttempt], permit: RetryPermit) -> Outcome:
        vigil = ClientWatch(request.client_stream)
        lanes.append(HedgedAttempt(request, backend, self._reach, vigil))
        vigil.wait(self._after)
        if lanes[0].is_running and (spare := self._spare(request, backend)) and permit.take():
            request.tries += 1
            lanes.append(HedgedAttempt(request, spare, self._reach, vigil))
        while any(lane.is_running for lane in lanes) and not any(map(self._is_wanted, lanes)):
            vigil.wait()
        for lane in sorted(lanes, key=self._is_wanted, reverse=True):
            if lane.answer is not None:
                return self._won(request, lane, *lane.answer)
        return tuple(lane.failed for lane in lanes)

    def _is_wanted(self, lane: HedgedAttempt) -> bool:
        return lane.answer is not None and lane.answer[1].status not in self._retry_statuses

    @staticmethod
    def _too_late(lanes: list[HedgedAttempt], error: Expired) -> Outcome:
        """Of those still asked the first is to blame: the other had less time."""
        failure = failure_of(error)
        if failure is None:
            raise error
        slow = next(lane for lane in lanes if lane.error is None)
        return (*(lane.failed for lane in lanes if lane.error), FailedAttempt(slow.backend, failure, error))

    def _spare(self, request: Request, backend: Backend) -> Backend | None:
        """Another one, if there is one that is well: what is left out is no help."""
        spare = self._upstream.pick(request, (backend,))
        return spare if spare and spare.is_healthy else None

    def _won(self, request: Request, lane: HedgedAttempt, connection: Any, answer: ResponseHead) -> Outcome:
        lane.answer = None  # the response's own now
        connection.watch_client(request.client_stream)
        request.backend = lane.backend.name
        return self._hand_out(request, lane.backend, connection, answer)
