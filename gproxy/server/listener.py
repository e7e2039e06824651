"""The server that accepts from a socket."""

import _socket
import logging
import socket
from collections.abc import Callable
from typing import Any, Final

import gevent
from gevent.pywsgi import WSGIServer
from greenlet import getcurrent, greenlet

from gproxy.arbiter.sockets import BACKLOG
from gproxy.server.connection import LINGER, ClientConnection
from gproxy.server.context import ServerContext
from gproxy.upstream.failure import SHORTAGES

#: How long accepting rests then, in seconds.
_PAUSE: Final = 0.1
#: How many connections are accepted in one turn of the loop.
_AT_A_TIME: Final = 100
#: How many greenlets are kept for connections to come.
_PARKED: Final = 32

_log = logging.getLogger("gproxy")


#: Makes a connection of (socket, address, context).
ConnectionClass = Callable[[Any, Any, ServerContext], ClientConnection]


class Listener(WSGIServer):  # type: ignore[misc]
    """pywsgi's accept loop, with our own connections behind it."""

    def __init__(
        self, listener: socket.socket, context: ServerContext, connection_class: ConnectionClass = ClientConnection
    ) -> None:
        super().__init__(
            listener, context.gateway, handler_class=connection_class, spawn=gevent.spawn_raw, log=None, error_log=None
        )
        self.context = context
        self.connections = context.connections
        self._short_of: str = ""

    def update_environ(self) -> None:
        """Nothing: there is no WSGI environment here, and the original asks DNS for our name."""

    def _do_read(self) -> None:
        """All that wait, each in a greenlet of its own; PERF: without what gevent does for every other server."""
        parked = self.context.runtime.parked
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
        for connection in self.connections:
            connection.linger(LINGER)


def _serve(parked: list[greenlet], accepted: tuple[Any, Any, Listener]) -> None:
    """One connection after the other; PERF: a new greenlet maps and unmaps memory for its frames."""
    while True:
        sock, address, server = accepted
        server.handler_class(sock, address, server.context).handle()
        if len(parked) >= _PARKED:
            return
        own = getcurrent()
        own.gr_context = None  # what a handler has put into a ContextVar was for that client
        parked.append(own)
        accepted = gevent.get_hub().switch()
