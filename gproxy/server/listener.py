"""The accept loop of one socket, on top of pywsgi's server."""

import _socket
import logging
import socket
from collections.abc import Callable
from typing import Any, Final

import gevent
from gevent.pywsgi import WSGIServer
from greenlet import getcurrent, greenlet

from gproxy.arbiter.sockets import BACKLOG
from gproxy.server.connection import LAST_REQUEST_SECONDS, ClientConnection
from gproxy.server.context import ServerContext
from gproxy.upstream.failure import SHORTAGES

#: Seconds without accepting after a shortage of descriptors or memory.
_PAUSE: Final = 0.1
#: Connections accepted in one turn of the loop.
_ACCEPTS_PER_TURN: Final = 100
#: Greenlets kept for further connections.
_PARKED: Final = 32

_log = logging.getLogger("gproxy")


#: Makes a connection from (socket, address, context).
ConnectionClass = Callable[[Any, Any, ServerContext], ClientConnection]


class Listener(WSGIServer):  # type: ignore[misc]
    """An accept loop on one socket; its connections speak HTTP without pywsgi."""

    def __init__(
        self, listener: socket.socket, context: ServerContext, connection_class: ConnectionClass = ClientConnection
    ) -> None:
        super().__init__(
            listener, context.gateway, handler_class=connection_class, spawn=gevent.spawn_raw, log=None, error_log=None
        )
        self.context = context
        self.connections = context.connections
        self._shortage: str = ""

    def update_environ(self) -> None:
        """Skip the WSGI environment: it is not used, and pywsgi's looks up the host name in DNS."""

    def _do_read(self) -> None:
        """Accept the waiting connections, a greenlet each; PERF: without the generic steps of gevent's servers."""
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
        """Accept one connection, without gevent's socket wrapper: a channel has its own watcher."""
        listener = self.socket
        try:
            descriptor, address = listener._accept()  # noqa: SLF001 gevent's `accept` would make a wrapper
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in SHORTAGES:
                return None  # the client left before accept
            self._pause(error)
            return None
        self._shortage = ""
        sock = _socket.socket(listener.family, listener.type, listener.proto, descriptor)
        sock.setblocking(False)
        return sock, address

    def _pause(self, error: OSError) -> None:
        """Pause accepting while descriptors or memory run short; new connections wait in the kernel's queue."""
        if not self._shortage:
            _log.error("accept failed: %s; retrying every 100 ms", error.strerror)
        self._shortage = error.strerror or "resources"
        self.stop_accepting()
        self._timer = self.loop.timer(_PAUSE)
        self._timer.start(self._start_accepting_if_started)

    def accept_queued(self) -> None:
        """Accept everything in the queue of a silenced listener: closing it would reset these connections."""
        if self.started:
            self.max_accept = BACKLOG * 2
            self._do_read()

    def share(self, *, alone: bool) -> None:
        """Accept one connection a turn, for an even share, unless this worker is `alone` on the socket."""
        self.max_accept = _ACCEPTS_PER_TURN if alone else 1

    def drain(self) -> None:
        """Give idle connections the time for a last request; the others close after their response."""
        for connection in self.connections:
            connection.close_if_idle(LAST_REQUEST_SECONDS)


def _serve(parked: list[greenlet], accepted: tuple[Any, Any, Listener]) -> None:
    """Serve connections in one greenlet; PERF: a new greenlet maps and unmaps memory for its frames."""
    while True:
        sock, address, listener = accepted
        listener.handler_class(sock, address, listener.context).handle()
        if len(parked) >= _PARKED:
            return
        own = getcurrent()
        own.gr_context = None  # a handler's ContextVars belong to the previous client
        parked.append(own)
        accepted = gevent.get_hub().switch()
