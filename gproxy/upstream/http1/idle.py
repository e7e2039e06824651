"""The idle connections to one backend, and how long the backend keeps them."""

import math
import queue
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

import gevent

from gproxy.upstream.http1.connection import HTTP1Connection
from gproxy.upstream.http1.response_head import usable_for

_FOREVER: Final = math.inf
#: A connection that ends after less idle time, in seconds, was not closed for its idleness, but by a restart.
_SHORTEST: Final = 0.5
#: PERF: a connection that was idle for longer, in seconds, is looked at before its use; that takes a system call.
_LONG: Final = 0.05


class Idle:
    """The queue of a pool: last in, first out, so that surplus connections grow old.

    It takes back every connection. `trim` closes surplus and old ones once a second, so a burst of requests does not
    open and close a connection for each request.

    The queue learns after how long the backend closes an idle connection: from its Keep-Alive field, from the idle
    connections that it has closed, and from a request that met such an end. Older ones get no more requests. The oldest
    of them is a witness: it stays open, and shows whether what was learnt is still true. So a restart of the backend,
    which closes connections of any age, is forgotten as soon as a witness has outlived it. A request that met an end is
    forgotten only if the backend closes a witness later: a firewall may drop connections without a word.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize
        #: The age at which a connection is closed, in seconds.
        self.max_age = math.inf
        self._connections: list[HTTP1Connection] = []
        self.clock: Callable[[], float] = monotonic
        self._loop: Any = gevent.get_hub().loop
        #: How long an idle connection may be used by the Keep-Alive field; after how long the backend has closed one,
        #: and after how long a request met the end of one.
        self._announced = _FOREVER
        self._closed_after = _FOREVER
        self._stale_after = _FOREVER
        #: How long an idle connection may be used by all three.
        self.usable_for = _FOREVER

    def __len__(self) -> int:
        return len(self._connections)

    def take(self) -> HTTP1Connection | None:
        """Take the connection that was used last and is still open; None if there is none."""
        connections = self._connections
        while connections:
            connection = connections.pop()
            idle = self.clock() - connection.idle_since
            if idle > self.usable_for:
                connections.append(connection)  # the others are older: `trim` closes them
                return None
            channel = connection.channel
            if idle > _LONG:
                channel.look()
            if not channel.has_event and not channel.buffer:  # PERF: as is_connected, inline
                return connection
            if connection.is_connected:
                return connection
            self._note_closed([connection])
        return None

    def keep(self, connection: HTTP1Connection) -> None:
        """Take back a connection after its exchange."""
        now = self.clock()
        if now - connection.born > self.max_age:
            connection.close()
            return
        announced = connection.idle_timeout
        if announced != self._announced and announced != _FOREVER:  # noqa: PLR1714 PERF: a tuple would box them
            self._announced = announced
            self._learn()
        connection.become_idle(now)
        self._connections.append(connection)

    def note_stale(self, connection: HTTP1Connection) -> None:
        """Learn from a connection that had ended when its request was sent. Close the idle ones: they are as old."""
        age = self.clock() - connection.idle_since
        if _SHORTEST < age < self._stale_after:
            self._stale_after = age
            self._learn()
        self.clear()

    def _note_closed(self, connections: Sequence[HTTP1Connection]) -> None:
        """Learn from idle connections that have ended at about the same time, and close them.

        The longest idle time counts: a server that closes by age closes younger ones later.
        """
        for connection in connections:
            connection.close()
        age = max(connection.channel.event_at - connection.idle_since for connection in connections)
        if age > _SHORTEST:
            self._closed_after = min(self._closed_after, age)
            if age > self._stale_after:
                self._stale_after = _FOREVER
            self._learn()

    def _learn(self) -> None:
        self.usable_for = min(self._announced, usable_for(min(self._closed_after, self._stale_after)))

    def get(self, block: bool = False, timeout: float | None = None) -> HTTP1Connection:  # noqa: ARG002
        """Raise queue.Empty, and let the hub close the connections.

        urllib3 asks for them when the garbage collector takes a pool. That may run in any thread, and a channel that
        another thread closes breaks the event loop.
        """
        if self._connections:
            self._loop.run_callback_threadsafe(self.clear)
        raise queue.Empty

    def put(self, connection: HTTP1Connection | None, block: bool = False) -> None:  # noqa: ARG002
        if connection is not None:
            self._connections.append(connection)

    def clear(self) -> None:
        """Close all idle connections."""
        connections, self._connections = self._connections, []
        for connection in connections:
            connection.close()

    def retire(self) -> None:
        """Close all idle connections, and from now on every connection that comes back."""
        self.max_age = -1.0
        self.clear()

    def trim(self, now: float, idle_timeout: float) -> None:
        """Close the connections that have ended, are too old, idle for too long, or surplus for more than a second.

        The idle limit is `idle_timeout`, or what the backend announces or has shown if that is shorter.
        """
        connected: list[HTTP1Connection] = []
        ended: list[HTTP1Connection] = []
        for connection in self._connections:
            (connected if connection.is_connected else ended).append(connection)
        if ended:
            self._note_closed(ended)
        witness = self._witness(connected, now, min(idle_timeout, self._announced))
        longest = min(idle_timeout, self.usable_for)
        surplus = len(connected) - self.maxsize - (witness is not None)
        kept = []
        for connection in connected:  # the oldest first
            idle = now - connection.idle_since
            is_old = idle > longest or (surplus > 0 and idle > 1.0)
            if now - connection.born > self.max_age or (is_old and connection is not witness):
                surplus -= 1
                connection.close()
            else:
                kept.append(connection)
        self._connections = kept

    def _witness(self, connected: Sequence[HTTP1Connection], now: float, longest: float) -> HTTP1Connection | None:
        """Return the oldest connection if it is too old to be used; learn that the backend has kept it so long."""
        idle = now - connected[0].idle_since if connected else 0.0
        if idle <= self.usable_for:
            return None
        if idle > self._closed_after:
            self._closed_after = idle if idle <= longest else _FOREVER
            self._learn()
        return connected[0] if idle <= longest else None
