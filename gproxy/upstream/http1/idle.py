"""The connections to one backend that are not in use."""

import math
import queue
from collections.abc import Callable
from time import monotonic
from typing import Any

from gproxy.upstream.http1.connection import HTTP1Connection


class Idle:
    """The pool's queue: the connection that came last goes out first, so that surplus ones grow old.

    It takes whatever comes back; what is too many or too old is closed by `trim`, which is asked once a second. So a
    burst does not open and close connections at every request.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize
        #: How old a connection may be to be kept, in seconds.
        self.max_age = math.inf
        self._connections: list[HTTP1Connection] = []
        self.clock: Callable[[], float] = monotonic

    def take(self) -> HTTP1Connection | None:
        """The youngest connection that can be used; None if there is none."""
        connections = self._connections
        while connections:
            connection = connections.pop()
            channel = connection.channel
            if (
                channel is not None and not channel.has_event and not channel.buffer
            ):  # PERF: what is_connected asks first
                return connection
            if connection.is_connected:
                return connection
            connection.close()
        return None

    def keep(self, connection: HTTP1Connection) -> None:
        """Take back a connection whose exchange is over."""
        now = self.clock()
        if now - connection.born > self.max_age:
            connection.close()
            return
        connection.forget()
        connection.reused = True
        connection.idle_since = now
        self._connections.append(connection)

    def get(self, block: bool = False, timeout: float | None = None) -> Any:  # noqa: ARG002
        try:
            return self._connections.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, connection: Any, block: bool = False) -> None:  # noqa: ARG002
        if connection is not None:
            self._connections.append(connection)

    def clear(self) -> None:
        """Close them all."""
        connections, self._connections = self._connections, []
        for connection in connections:
            connection.close()

    def retire(self) -> None:
        """Close them all, and from now on what comes back."""
        self.max_age = -1.0
        self.clear()

    def trim(self, now: float, idle_timeout: float) -> None:
        """Close what the backend has closed, what is too old or idle for too long, and what is too many for a second.

        Too long is what we are told, or what the backend has announced.
        """
        surplus = len(self._connections) - self.maxsize
        kept = []
        for connection in self._connections:  # the oldest first
            idle = now - connection.idle_since
            longest = min(idle_timeout, connection.last.idle_timeout) if connection.last else idle_timeout
            is_old = idle > longest or now - connection.born > self.max_age or (surplus > 0 and idle > 1.0)
            if is_old or not connection.is_connected:
                surplus -= 1
                connection.close()
            else:
                kept.append(connection)
        self._connections = kept
