"""The idle connections to one backend."""

import math
import queue
from collections.abc import Callable
from time import monotonic

from gproxy.upstream.http1.connection import HTTP1Connection


class Idle:
    """The queue of a pool: last in, first out, so that surplus connections grow old.

    It takes back every connection. `trim` closes surplus and old ones once a second, so a burst of requests does not
    open and close a connection for each request.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize
        #: The age at which a connection is closed, in seconds.
        self.max_age = math.inf
        self._connections: list[HTTP1Connection] = []
        self.clock: Callable[[], float] = monotonic

    def take(self) -> HTTP1Connection | None:
        """Take the connection that was used last and is still open; None if there is none."""
        connections = self._connections
        while connections:
            connection = connections.pop()
            channel = connection.channel
            if not channel.has_event and not channel.buffer:  # PERF: as is_connected, inline
                return connection
            if connection.is_connected:
                return connection
            connection.close()
        return None

    def keep(self, connection: HTTP1Connection) -> None:
        """Take back a connection after its exchange."""
        now = self.clock()
        if now - connection.born > self.max_age:
            connection.close()
            return
        connection.become_idle(now)
        self._connections.append(connection)

    def get(self, block: bool = False, timeout: float | None = None) -> HTTP1Connection:  # noqa: ARG002
        try:
            return self._connections.pop()
        except IndexError:
            raise queue.Empty from None

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

        The idle limit is `idle_timeout`, or the backend's Keep-Alive timeout if that is shorter.
        """
        surplus = len(self._connections) - self.maxsize
        kept = []
        for connection in self._connections:  # the oldest first
            idle = now - connection.idle_since
            longest = min(idle_timeout, connection.idle_timeout)
            is_old = idle > longest or now - connection.born > self.max_age or (surplus > 0 and idle > 1.0)
            if is_old or not connection.is_connected:
                surplus -= 1
                connection.close()
            else:
                kept.append(connection)
        self._connections = kept
