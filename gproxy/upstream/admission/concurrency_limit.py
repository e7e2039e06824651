"""A limit of the concurrent requests to an upstream, with a bounded queue: first come, first served.

A request holds its slot until the backend's response is read completely or closed, or until its client reads it
slowly. A queued request gives up after `queue_timeout`, at its deadline, or when the client leaves. It then frees its
place, or the slot that it has just got.
"""

import math
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from gproxy.config.sections.admission import QueueOptions
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.phase import HANDLER, QUEUE
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.client_watch import ClientWatch, bounded
from gproxy.runtime.expired import Expired
from gproxy.upstream.forwarder.response_body import BackendBody


class ConcurrencyLimit:
    """The concurrency limit of one upstream; /health shows `active` and `queued`."""

    def __init__(self, options: QueueOptions) -> None:
        self._max_requests = options.max_requests or math.inf
        self._capacity = self._max_requests
        #: True while backends limit their connections: then a slot stands for a connection, which a slow reader keeps.
        self._counts_connections = False
        self._queue_length = options.length
        self._queue_timeout = options.timeout
        self._queue: deque[QueuedRequest] = deque()
        self.active = 0
        #: A function that takes the seconds of each wait in the queue; None unless they are measured.
        self.observe_wait: Callable[[float], None] | None = None

    @property
    def queued(self) -> int:
        return len(self._queue)

    def before(self, following: Next) -> Next:
        """Return a step that waits for a slot before `following`, or raises HTTPError 503."""

        def take_turn(request: Request) -> Response:
            self._enter(request)
            slot = _Slot(self)
            request.at_end(slot.free)  # even without a response; registered first, it runs after the lease's release
            try:
                response = following(request)
            except BaseException:
                slot.free()
                raise
            body = response.raw_body
            if isinstance(body, bytes):  # the body arrived whole: the connection is released already
                slot.free()
            else:
                response.on_close(slot.free, last=True)
                if isinstance(body, BackendBody):
                    body.on_release = slot.free
                if not self._counts_connections:
                    request.deadline.on_slow_reader = slot.free
            return response

        return take_turn

    def resize(self, room: float) -> None:
        """Adapt the limit to the number of requests that all candidates take together."""
        self._capacity = min(self._max_requests, room)
        self._counts_connections = room != math.inf
        self._call_next()

    def _enter(self, request: Request) -> None:
        if self.active < self._capacity:  # the queue is empty then
            self.active += 1
        elif len(self._queue) >= self._queue_length:
            raise _rejection("queue_full", "too many concurrent requests")
        else:
            self._wait(request)

    def _wait(self, request: Request) -> None:
        place = QueuedRequest(request)
        began = 0.0 if self.observe_wait is None else monotonic()
        request.phase = QUEUE
        self._queue.append(place)
        try:
            with bounded(request.deadline.timer, self._queue_timeout):
                place.wait()
                return
        except BaseException as error:
            self._give_up(place)
            if isinstance(error, Expired) and error.limit in (TimeLimit.DEADLINE, TimeLimit.TOTAL):
                raise _rejection("queue_timeout", "the request timed out in the queue") from None
            raise
        finally:
            request.phase = HANDLER
            if self.observe_wait is not None:
                self.observe_wait(monotonic() - began)
        self._give_up(place)
        raise _rejection("queue_timeout", "the request timed out in the queue")

    def _give_up(self, place: "QueuedRequest") -> None:
        """Leave the queue, or free the slot that the request has got in the meantime."""
        if place.is_called:
            self.leave()
        else:
            self._queue.remove(place)

    def leave(self) -> None:
        """Free a slot, and give it to the next request in the queue."""
        self.active -= 1
        self._call_next()

    def _call_next(self) -> None:
        while self._queue and self.active < self._capacity:
            self.active += 1
            self._queue.popleft().call()

    def snapshot(self) -> dict[str, Any]:
        """Return the gauges for /health; a limit of None means unlimited at present."""
        limit = None if self._capacity == math.inf else int(self._capacity)
        return {"active": self.active, "limit": limit, "queued": self.queued}


class _Slot:
    """A slot of one request; `free` frees it once, further calls do nothing."""

    __slots__ = ("_limit",)

    def __init__(self, limit: ConcurrencyLimit) -> None:
        self._limit: ConcurrencyLimit | None = limit

    def free(self) -> None:
        limit, self._limit = self._limit, None
        if limit is not None:
            limit.leave()


class QueuedRequest:
    """A request in the queue, and the greenlet that waits there."""

    __slots__ = ("_watch", "is_called")

    def __init__(self, request: Request) -> None:
        self._watch = ClientWatch.of(request)
        self.is_called = False

    def wait(self) -> None:
        """Wait for `call`. Raise ClientGone if the client leaves."""
        self._watch.wait()

    def call(self) -> None:
        """End the wait: the request has a slot."""
        self.is_called = True
        self._watch.wake()


def _rejection(reason: str, detail: str) -> HTTPError:
    headers = {"Proxy-Status": "gproxy; error=connection_limit_reached", "Retry-After": "1"}
    return HTTPError(503, detail, headers, reason=reason)
