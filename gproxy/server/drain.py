"""The end of a worker's listeners and connections, for a stop or because a newer generation has taken over."""

import logging
import math
from collections.abc import Collection, Sequence
from time import monotonic
from typing import Final

import gevent
from gevent.event import Event

from gproxy.server.connection import LINGER
from gproxy.server.context import OpenConnection
from gproxy.server.listener import Listener

_log = logging.getLogger("gproxy")

_LOOK_EVERY: Final = 0.02
_LOOK_AT_TUNNELS_EVERY: Final = 0.5


class Drain:
    """Idle connections get a second more, requests `grace`; then they are cut.

    Tunnels may outlive the start of a newer generation for as long as they like, but no stop.
    """

    def __init__(self, servers: Sequence[Listener], grace: float) -> None:
        self._servers = servers
        self._grace = max(grace, LINGER)
        self._deadline = math.inf
        self._stopping = Event()
        self._cut = 0

    def close_listeners(self, for_good: Collection[int]) -> None:
        """Those whose index is in `for_good` get no more connections from anywhere: take what they have."""
        for index, server in enumerate(self._servers):
            if index in for_good:
                server.accept_the_rest()
            server.close()

    def stop(self) -> None:
        """Tunnels are to end too, all within `grace` from now on."""
        self._deadline = monotonic() + self._grace
        self._stopping.set()

    def run(self) -> int:
        """Until nobody is left; how many requests were cut."""
        self._deadline = min(self._deadline, monotonic() + self._grace)
        gevent.sleep(0)  # whatever was accepted last has a greenlet that must begin before we see the connection
        for server in self._servers:
            server.drain()
        self._finish()
        while self._open() and not self._stopping.wait(_LOOK_AT_TUNNELS_EVERY):
            pass
        self._finish()
        return self._cut

    def _finish(self) -> None:
        while self._left() and monotonic() < self._deadline:
            gevent.sleep(_LOOK_EVERY)
        self._cut_off()
        told = monotonic()
        while self._left() and monotonic() < told + LINGER:
            gevent.sleep(_LOOK_EVERY)

    def _left(self) -> list[OpenConnection]:
        """Those that a deadline holds for."""
        stopping = self._stopping.is_set()
        return [connection for connection in self._open() if stopping or not connection.is_tunnel]

    def _open(self) -> list[OpenConnection]:
        return [connection for server in self._servers for connection in server.connections]

    def _cut_off(self) -> None:
        """End what remains, each by name."""
        for connection in self._left():
            request = connection.request
            if request is not None:
                self._cut += 1
                _log.warning("%s %s %s: cut, it did not finish within grace", request.id, request.method, request.path)
            connection.cut()
