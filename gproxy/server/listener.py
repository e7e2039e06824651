"""The server that accepts from a socket."""

import _socket
import logging
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import gevent
from gevent.pywsgi import WSGIServer
from greenlet import getcurrent, greenlet

from gproxy.arbiter.sockets import BACKLOG
from gproxy.config.sections.server import ServerSettings
from gproxy.gateway.gateway import Gateway
from gproxy.http.request_fields import Known
from gproxy.http.trust import network_of
from gproxy.runtime import Runtime
from gproxy.runtime.alarm import Wheel
from gproxy.server.connection import LINGER, Connection
from gproxy.upstream.failure import SHORTAGES

#: How long accepting rests then, in seconds.
_PAUSE: Final = 0.1
#: How many connections are accepted in one turn of the loop.
_AT_A_TIME: Final = 100
#: How many rejected connections stay open at a time so that their clients can read why; more are closed at once.
_LINGERING: Final = 100
#: How many greenlets are kept for connections to come.
_PARKED: Final = 32

_log = logging.getLogger("gproxy")


#: Makes a connection of (socket, address, server).
ConnectionClass = Callable[[Any, Any, "Server"], Connection]


class Server(WSGIServer):  # type: ignore[misc]
    """pywsgi's accept loop, with our own connections behind it."""

    def __init__(
        self,
        listener: socket.socket,
        gateway: Gateway,
        settings: ServerSettings,
        runtime: Runtime,
        connection_class: ConnectionClass = Connection,
    ) -> None:
        super().__init__(
            listener, gateway, handler_class=connection_class, spawn=gevent.spawn_raw, log=None, error_log=None
        )
        self.gateway = gateway
        self.settings = settings
        self.runtime = runtime
        self.connections: set[Connection] = set()
        self.known = Known(gateway.trust, max_fields=settings.max_fields, max_body=settings.max_body)
        self.wheel = Wheel()
        #: Admitted ones by address, of IPv6 by /64: only these count against the limits.
        self._by_address: Counter[str] = Counter()
        self._rejected: set[Connection] = set()
        self._short_of: str = ""

    def admit(self, connection: Connection) -> str:
        """Count the connection, or return why it is one too many; a rejected one takes no place while it closes."""
        self.connections.add(connection)
        limit, address_limit = self.settings.max_connections, self.settings.max_connections_per_address
        if address_limit and self._by_address[network_of(connection.peer)] >= address_limit:
            why = "too many connections from your address"
        elif 0 < limit < len(self.connections) - len(self._rejected):
            why = "too many connections"
        else:
            if address_limit:
                self._by_address[network_of(connection.peer)] += 1
            return ""
        self._rejected.add(connection)
        return why

    @property
    def lingers(self) -> bool:
        """May one more rejected connection stay open until its client has read why?"""
        return len(self._rejected) <= _LINGERING

    def forget(self, connection: Connection) -> None:
        """Drop a connection that has ended from the counts."""
        self.connections.discard(connection)
        if connection in self._rejected:
            self._rejected.remove(connection)
        elif self.settings.max_connections_per_address:
            network = network_of(connection.peer)
            self._by_address[network] -= 1
            if not self._by_address[network]:
                del self._by_address[network]

    def update_environ(self) -> None:
        """Nothing: there is no WSGI environment here, and the original asks DNS for our name."""

    def _do_read(self) -> None:
        """All that wait, each in a greenlet of its own; PERF: without what gevent does for every other server."""
        parked = self.runtime.parked
        for _ in range(self.max_accept):
            accepted = self.do_read()
            if accepted is None:
                return
            if parked:
                self.loop.run_callback(parked.pop().switch, (*accepted, self))
            else:
                gevent.spawn_raw(_serve, parked, (*accepted, self))

    def do_read(self) -> tuple[Any, Any] | None:
        """Accept without gevent's socket around it: a connection brings its own watcher."""
        listener = self.socket
        try:
            descriptor, address = listener._accept()
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in SHORTAGES:
                return None  # the client was gone before it was accepted
            self._pause(error)
            return None
        self._short_of = ""
        sock = _socket.socket(listener.family, listener.type, listener.proto, descriptor)
        sock.setblocking(False)
        return sock, address

    def _pause(self, error: OSError) -> None:
        """Out of descriptors or memory: those who are served go on, new ones wait in the kernel's queue."""
        if not self._short_of:
            _log.error("cannot accept connections: %s; trying again and again", error.strerror)
        self._short_of = error.strerror or "resources"
        self.stop_accepting()
        self._timer = self.loop.timer(_PAUSE)
        self._timer.start(self._start_accepting_if_started)

    def accept_the_rest(self) -> None:
        """For a listener that nothing new comes to any more: closing it would reset what is in its queue."""
        if self.started:
            self.max_accept = BACKLOG * 2
            self._do_read()

    def share(self, *, alone: bool) -> None:
        """If others accept from this listener too, take one connection a turn, and leave them theirs."""
        self.max_accept = _AT_A_TIME if alone else 1

    def drain(self) -> None:
        """Idle connections get a last chance, the others close after their answer."""
        for connection in list(self.connections):
            connection.linger(LINGER)


def _serve(parked: list[greenlet], accepted: tuple[Any, Any, Server]) -> None:
    """One connection after the other; PERF: a new greenlet maps and unmaps memory for its frames."""
    while True:
        sock, address, server = accepted
        server.handler_class(sock, address, server).handle()
        if len(parked) >= _PARKED:
            return
        own = getcurrent()
        own.gr_context = None  # what a handler has put into a ContextVar was for that client
        parked.append(own)
        accepted = gevent.get_hub().switch()
