"""Draining of a worker's listeners and connections, for a stop or after a reload."""

import logging
import math
from collections.abc import Collection, Sequence
from time import monotonic
from typing import Final

import gevent
from gevent.event import Event

from gproxy.http.request import Request
from gproxy.http.time_limit import TimeLimit
from gproxy.server.connection import LAST_REQUEST_SECONDS
from gproxy.server.context import ActiveRequest, OpenConnection
from gproxy.server.listener import Listener

_log = logging.getLogger("gproxy")

_POLL_EVERY: Final = 0.02
_POLL_TUNNELS_EVERY: Final = 0.5


class Drain:
    """The drain of one worker: idle connections get one more second, requests get `grace`, then they are cut.

    What outlives its cut by a second is given up: a handler may catch every exception, or block in C. After a reload
    tunnels stay open without a limit; a stop ends them too.
    """

    def __init__(self, listeners: Sequence[Listener], grace: float) -> None:
        self._listeners = listeners
        self._grace = max(grace, LAST_REQUEST_SECONDS)
        self._deadline = math.inf
        self._stopping = Event()
        self._cut = 0
        #: Connections that have outlived their cut.
        self._given_up: set[OpenConnection] = set()

    def close_listeners(self, removed: Collection[int]) -> None:
        """Close the listeners; on those whose index is in `removed`, accept the queued connections first."""
        for index, listener in enumerate(self._listeners):
            if index in removed:
                listener.accept_queued()
            listener.close()

    def stop(self) -> None:
        """End all connections, tunnels too, within `grace` from now on."""
        self._deadline = monotonic() + self._grace
        self._stopping.set()

    def run(self) -> int:
        """Wait until no connection is open, or all others are given up; return the number of requests that were cut."""
        self._deadline = min(self._deadline, monotonic() + self._grace)
        gevent.sleep(0)  # the greenlets of the last accepted connections must start before these are visible
        for listener in self._listeners:
            listener.drain()
        self._finish()
        while self._open() and not self._stopping.wait(_POLL_TUNNELS_EVERY):
            pass
        self._finish()
        return self._cut

    def _finish(self) -> None:
        while self._remaining() and monotonic() < self._deadline:
            gevent.sleep(_POLL_EVERY)
        self._cut_off()
        cut_at = monotonic()
        while self._remaining() and monotonic() < cut_at + LAST_REQUEST_SECONDS:
            gevent.sleep(_POLL_EVERY)
        self._given_up.update(self._remaining())

    def _remaining(self) -> list[OpenConnection]:
        """Return the open connections that the deadline applies to: tunnels only during a stop."""
        stopping = self._stopping.is_set()
        return [connection for connection in self._open() if stopping or not connection.is_tunnel]

    def _open(self) -> list[OpenConnection]:
        """Return the open connections that are not given up."""
        connections = (connection for listener in self._listeners for connection in listener.connections)
        return [connection for connection in connections if connection not in self._given_up]

    def _cut_off(self) -> None:
        """Cut the remaining connections; tunnels among the requests of a connection only during a stop."""
        stopping = self._stopping.is_set()
        for connection in self._remaining():
            active = connection.active_requests
            if not active:
                connection.cut(TimeLimit.DRAINING)
            for one in active:
                if (request := one.request) is not None and (stopping or not request.exchange.is_tunnel):
                    self._cut_request(one, request)

    def _cut_request(self, active: ActiveRequest, request: Request) -> None:
        self._cut += 1
        _log.warning("%s %s %s: cut, not finished within grace", request.id, request.method, request.path)
        active.cut(TimeLimit.DRAINING)
