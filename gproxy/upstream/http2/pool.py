"""The HTTP/2 connections to one backend: which of them takes a request, and when one more is opened."""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from types import MappingProxyType
from typing import Any, Final

import gevent
from urllib3.exceptions import ConnectTimeoutError

from gproxy.config.types import BackendURL
from gproxy.http.buffers import NO_BUFFERS, Buffers
from gproxy.http.request import Request
from gproxy.runtime.client_watch import ClientWatch
from gproxy.upstream.connection import BackendConnection, Observer
from gproxy.upstream.errors import NotHTTP2Error, NoUpgradeError, RefusedStreamError, TLSError
from gproxy.upstream.http1.pool import IdleConnections, SharedConnections
from gproxy.upstream.http1.tls_session import remember_session
from gproxy.upstream.http2.backend_stream import BackendStream
from gproxy.upstream.http2.connection import HTTP2Connection

_DEFAULT_TLS: Final[Mapping[str, Any]] = MappingProxyType({})
#: HTTP/2 by its ALPN name (RFC 9113 section 3.1).
_HTTP2: Final = "h2"
#: After a failed attempt to open one more connection, the others have to do for so many seconds.
_PAUSE: Final = 1.0


class WaitingRequest:
    """A request that waits for room on a connection, and what it gets."""

    __slots__ = ("_error", "_watch", "connection")

    def __init__(self, request: Request) -> None:
        self._watch = ClientWatch.of(request)
        self._error: Exception | None = None
        #: The connection that was leased for it.
        self.connection: HTTP2Connection | None = None

    def wait(self) -> HTTP2Connection | None:
        """Return what it gets. Raise the error of connecting, and ClientGone if the client leaves."""
        self._watch.wait()
        if self._error is not None:
            raise self._error
        return self.connection

    def serve(self, connection: HTTP2Connection | None) -> None:
        """Let it have a leased connection; None if it needs one of HTTP/1.1."""
        self.connection = connection
        self._watch.wake()

    def fail(self, error: Exception) -> None:
        """Let it raise the error of connecting."""
        self._error = error
        self._watch.wake()


class HTTP2Pool:
    """The connections to one backend that many requests share: at most `most`, each as full as the backend allows.

    Without a `fallback` a backend that does not speak HTTP/2 fails. With one, which needs TLS, the backend chooses:
    requests have connections of HTTP/1.1 for as long as it chooses that. `fallback` has the arguments of urllib3 that
    offer HTTP/1.1 alone, for upgrades that HTTP/2 does not carry. The other arguments are those of `IdleConnections`;
    no peer may put the fields in `never_indexed` into a table, and what slow clients leave unread counts in `buffers`.
    """

    def __init__(
        self,
        url: BackendURL,
        *,
        keepalive: int,
        connect_timeout: float,
        max_age: float = 0.0,
        addresses: Sequence[str] = (),
        tls: Mapping[str, Any] = _DEFAULT_TLS,
        most: int = 8,
        fallback: Mapping[str, Any] | None = None,
        never_indexed: frozenset[str] = frozenset(),
        buffers: Buffers = NO_BUFFERS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._sockets = IdleConnections(
            url, keepalive=keepalive, connect_timeout=connect_timeout, max_age=max_age, addresses=addresses, tls=tls
        )
        self._fallback: IdleConnections | None = None
        if fallback is not None:
            self._fallback = IdleConnections(
                url, keepalive=0, connect_timeout=connect_timeout, addresses=addresses, tls=fallback
            )
        self.endpoint = self._sockets.endpoint
        self.idle = self._sockets.idle
        self.shared: SharedConnections | None = self
        self.observe_connect: Callable[[float], None] | None = None
        self._is_tls = url.scheme == "https"
        self._connect_timeout = connect_timeout
        self._max_age = max_age or math.inf
        self._most = most
        self._never_indexed = never_indexed
        self._buffers = buffers
        self._clock = clock
        self._connections: list[HTTP2Connection] = []
        #: The requests that wait, in their order.
        self._waiting: deque[WaitingRequest] = deque()
        #: The greenlet that opens a connection, and when that has failed last.
        self._connecting: gevent.Greenlet | None = None
        self._failed_at = -math.inf
        #: True if the last connection that has ended has done so after a few requests.
        self._is_cautious = False
        #: True while the backend has last chosen HTTP/1.1, and the connection for which it has, until a request takes
        #: it.
        self._is_http1 = False
        self._spare: Any = None

    def __len__(self) -> int:
        """Return the number of connections without a request."""
        return sum(not connection.leases for connection in self._connections)

    def lease(self, name: str, observe: Observer | None, request: Request) -> BackendConnection | None:
        """Return a stream for one request; None if the backend speaks HTTP/1.1. See `SharedConnections`."""
        if self._is_http1:
            return None
        connection = self._free()  # none while others wait: they have got what became free
        if connection is None:
            connection = self._wait(request)
            if connection is None:
                return None
        else:
            connection.leases += 1
        upgrade = request.upgrade
        if upgrade is None or connection.accepts(upgrade):
            return BackendStream(connection, name, observe)
        connection.release()
        if self._fallback is None:
            raise NoUpgradeError(upgrade)
        return self._fallback.dial(self._connect_timeout, name, observe)

    def _free(self) -> HTTP2Connection | None:
        """Return the first connection that has room, so that the last ones become idle and close."""
        for connection in self._connections:
            if connection.has_room():
                return connection
        return None

    def _wait(self, request: Request) -> HTTP2Connection | None:
        """Wait for a leased connection; return None if the backend speaks HTTP/1.1.

        The place is behind all others that wait. A repeated request has had one, so it is before them.
        """
        place = WaitingRequest(request)
        if request.tries > 1:
            self._waiting.appendleft(place)
        else:
            self._waiting.append(place)
        self._open_another()
        try:
            return place.wait()
        except BaseException:
            if place in self._waiting:
                self._waiting.remove(place)
            elif place.connection is not None:  # it was served in the same turn of the loop
                place.connection.release()
            raise

    def _changed(self, connection: HTTP2Connection) -> None:
        """Let waiting requests have the room that a connection has now; forget the connection if it has ended."""
        has_ended = connection.is_closed or connection.is_short_lived
        if has_ended and connection in self._connections:  # that of a probe is none of them, and ends each time
            self._is_cautious = connection.is_short_lived
            if connection.is_closed:
                self._connections.remove(connection)
        if self._waiting:
            self._serve()
        if self._max_age < 0.0:
            self._close_unused()

    def _serve(self) -> None:
        while self._waiting and (connection := self._free()) is not None:
            connection.leases += 1
            self._waiting.popleft().serve(connection)
        if self._waiting:
            self._open_another()

    def _open_another(self) -> None:
        """Open one more connection in a greenlet of its own, which ends with none of the requests that wait for it."""
        usable = [one for one in self._connections if not one.is_retired]
        if self._connecting is not None or len(usable) >= self._most or any(one.is_awaited for one in usable):
            return
        if not usable or self._clock() - self._failed_at >= _PAUSE:
            self._connecting = gevent.spawn(self._connect)

    def _connect(self) -> None:
        began = self._clock()
        error: Exception | None = None
        try:
            self._open(began + self._connect_timeout)
        except Exception as failure:  # noqa: BLE001 each waiting request raises it
            error = failure
        self._connecting = None
        if self.observe_connect is not None:
            self.observe_connect(self._clock() - began)
        if error is not None:
            self._failed_at = self._clock()
            if not any(not one.is_retired for one in self._connections):
                while self._waiting:
                    self._waiting.popleft().fail(error)
        elif self._is_http1:
            while self._waiting:
                self._waiting.popleft().serve(None)
        else:
            self._serve()
            if self._max_age < 0.0:
                self._close_unused()

    def _close_unused(self) -> None:
        """Close the connections of a retired pool as their last requests end."""
        for connection in list(self._connections):
            if not connection.leases:
                connection.retire()

    def _open(self, ends: float) -> None:
        """Open a connection. Raises urllib3's exceptions, TLSError, NotHTTP2Error and RefusedStreamError."""
        connection = self._sockets.connect(self._connect_timeout)
        try:
            if self._speaks_http2(connection):
                self._connections.append(self._started(connection, ends))
            else:
                self._is_http1, self._spare = True, connection
        except BaseException:
            connection.close()
            raise

    def _speaks_http2(self, connection: Any) -> bool:  # noqa: ANN401 urllib3's connections have no types
        """Return whether HTTP/2 is spoken on an open connection. Raise TLSError if it must be, and is not."""
        if not self._is_tls or connection.protocol == _HTTP2:
            return True
        if self._fallback is None:
            raise TLSError("the backend does not choose HTTP/2 by ALPN")
        return False

    def _started(self, connection: Any, ends: float) -> HTTP2Connection:  # noqa: ANN401 urllib3's have no types
        """Speak HTTP/2 on an open connection, and wait for the backend's limits. Raises as `_open`."""
        made = HTTP2Connection(
            connection,
            connection.channel(),
            self._changed,
            is_tls=self._is_tls,
            is_cautious=self._is_cautious,
            never_indexed=self._never_indexed,
            buffers=self._buffers,
            clock=self._clock,
        )
        made.start()
        try:
            made.settled.wait(max(0.0, ends - self._clock()))
            self._check_settled(made, connection)
        except BaseException:
            made.close()  # not only the socket: a greenlet reads from it
            raise
        if self._is_tls:  # now, not at the end: others are opened beside it
            remember_session(connection)
        return made

    def _check_settled(self, made: HTTP2Connection, connection: Any) -> None:  # noqa: ANN401 as above
        if made.is_closed:
            if made.session.peer_is_going_away:
                raise RefusedStreamError("the backend takes no request on a new connection")
            raise NotHTTP2Error(made.why)
        if not made.session.has_settings:
            raise ConnectTimeoutError(connection, f"No SETTINGS of the backend within {self._connect_timeout:g} s")

    def dial(self, timeout: float, name: str, observe: Observer | None) -> BackendConnection:
        """Open a connection for one request: for a probe, or because the backend has last chosen HTTP/1.1.

        If the backend chooses HTTP/2 now, other requests may share the connection; that of a probe is its own.
        """
        ends = self._clock() + timeout
        spare, self._spare = self._spare, None  # before it connects: another spare may come meanwhile
        connection = spare or self._sockets.connect(timeout)
        try:
            if not self._speaks_http2(connection):
                http1: BackendConnection = connection.http1(name, observe)
                return http1
            made = self._started(connection, ends)
        except BaseException:
            connection.close()
            raise
        made.leases += 1
        if self._is_http1:
            self._is_http1 = False
            self._connections.append(made)
        else:
            made.is_retired = True  # it closes with its request
        return BackendStream(made, name, observe)

    def trim(self, idle_timeout: float) -> None:
        """Close the connections that are idle for too long, too old or without an answer."""
        for connection in list(self._connections):
            connection.check(idle_timeout, self._max_age)
        self._close_spare()
        if not self._is_http1:
            self.idle.clear()  # what an upgrade has left: the others have HTTP/2

    def retire(self) -> None:
        """Let the requests finish, and close the connections."""
        self._max_age = -1.0
        for connection in list(self._connections):
            connection.retire()

    def close(self) -> None:
        """Close all connections."""
        if self._connecting is not None:
            self._connecting.kill()
        for connection in list(self._connections):
            connection.close()
        self._close_spare()
        self._sockets.close()

    def _close_spare(self) -> None:
        """Close a connection whose request has left: the backend may close it before the next request."""
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.close()
