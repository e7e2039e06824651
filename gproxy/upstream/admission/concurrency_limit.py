"""At most so many requests under way to an upstream, and a bounded queue before it: first come, first served.

A slot is held until the response is closed. Who waits gives up after `queue_timeout`, when the request's deadline
passes and when the client leaves, and neither a place nor a slot is lost by it.
"""

import math
from collections import deque
from typing import Any

import gevent

from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.upstream.forwarder.client_watch import ClientWatch


class ConcurrencyLimit:
    """One upstream's. active and queued are for /health, and 0 once nothing is under way."""

    def __init__(self, settings: UpstreamSettings) -> None:
        self._most = settings.max_requests or math.inf
        self._capacity = self._most
        self._longest = settings.queue
        self._patience = settings.queue_timeout
        self._queue: deque[QueuedRequest] = deque()
        self.active = 0

    @property
    def queued(self) -> int:
        return len(self._queue)

    def before(self, following: Next) -> Next:
        """Waits for a slot, or raises HTTPError 503."""

        def take_turn(request: Request) -> Response:
            self._enter(request)
            slot = _Slot(self)
            request.at_end(slot.free)  # whatever becomes of the response; before the lease's, so that it runs after it
            try:
                response = following(request)
            except BaseException:
                slot.free()
                raise
            if isinstance(response._body, bytes):  # it came whole: the backend is free already
                slot.free()
            else:
                response.on_close(slot.free, last=True)
            return response

        return take_turn

    def resize(self, room: float) -> None:
        """The backends take so many together."""
        self._capacity = min(self._most, room)
        self._call_next()

    def _enter(self, request: Request) -> None:
        if self.active < self._capacity:  # then nobody waits
            self.active += 1
        elif len(self._queue) >= self._longest:
            raise _rejection("queue_full", "too many requests at once")
        else:
            self._wait(request)

    def _wait(self, request: Request) -> None:
        place = QueuedRequest(request)
        self._queue.append(place)
        try:
            with gevent.Timeout(self._patience, False):
                place.wait()
                return
        except BaseException as error:
            self._give_up(place)
            if isinstance(error, Expired) and error.limit is TimeLimit.DEADLINE:
                raise _rejection("queue_timeout", "no room for the request in time") from None
            raise
        self._give_up(place)
        raise _rejection("queue_timeout", "no room for the request in time")

    def _give_up(self, place: "QueuedRequest") -> None:
        """The slot may have been given to it just now."""
        if place.is_called:
            self.leave()
        else:
            self._queue.remove(place)

    def leave(self) -> None:
        """A slot is free."""
        self.active -= 1
        self._call_next()

    def _call_next(self) -> None:
        while self._queue and self.active < self._capacity:
            self.active += 1
            self._queue.popleft().call()

    def snapshot(self) -> dict[str, Any]:
        """Its gauges for /health; a limit of None is that there is none now."""
        limit = None if self._capacity == math.inf else int(self._capacity)
        return {"active": self.active, "limit": limit, "queued": self.queued}


class _Slot:
    """A request's right to be under way, given back once, whoever does it first."""

    __slots__ = ("_limit",)

    def __init__(self, limit: ConcurrencyLimit) -> None:
        self._limit: ConcurrencyLimit | None = limit

    def free(self) -> None:
        limit, self._limit = self._limit, None
        if limit is not None:
            limit.leave()


class QueuedRequest:
    """A request in the queue, and the greenlet that waits there."""

    __slots__ = ("_vigil", "is_called")

    def __init__(self, request: Request) -> None:
        client = request.client_stream
        #: The client is not watched if a handler asks from a greenlet of its own, which the connection does not know.
        self._vigil = ClientWatch(client if client is not None and client.in_own_greenlet() else None)
        self.is_called = False

    def wait(self) -> None:
        """Until called. Raises ClientGone."""
        self._vigil.wait()

    def call(self) -> None:
        """It is this one's turn."""
        self.is_called = True
        self._vigil.wake()


def _rejection(reason: str, detail: str) -> HTTPError:
    headers = {"Proxy-Status": "gproxy; error=connection_limit_reached", "Retry-After": "1"}
    return HTTPError(503, detail, headers, reason=reason)
