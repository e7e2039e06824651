"""The listener of one socket, on top of pywsgi's server: it starts, pauses, shares and ends accepting."""

import logging
import socket
from typing import Final

import gevent
from gevent.pywsgi import WSGIServer

from gproxy.arbiter.sockets import BACKLOG
from gproxy.server.acceptor import Acceptor, ConnectionClass
from gproxy.server.connection import LAST_REQUEST_SECONDS, ClientConnection
from gproxy.server.context import ServerContext

#: Seconds without accepting after a shortage of descriptors or memory.
_PAUSE: Final = 0.1
#: Connections accepted in one turn of the loop.
_ACCEPTS_PER_TURN: Final = 100

_log = logging.getLogger("gproxy")


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
        self._acceptor = Acceptor(listener, context, connection_class, self._pause)

    def update_environ(self) -> None:
        """Skip the WSGI environment: it is not used, and pywsgi's looks up the host name in DNS."""

    def _do_read(self) -> None:
        """Accept the waiting connections; gevent calls this when there are some."""
        self._acceptor.accept(self.max_accept)

    def _pause(self, error: OSError) -> None:
        """Pause accepting while descriptors or memory run short; new connections wait in the kernel's queue."""
        if not self._acceptor.is_short:
            _log.error("accept failed: %s; retrying every 100 ms", error.strerror)
        self._acceptor.is_short = True
        self.stop_accepting()
        self._timer = self.loop.timer(_PAUSE)
        self._timer.start(self._start_accepting_if_started)

    def use(self, connection_class: ConnectionClass) -> None:
        """Serve new connections with another class."""
        self._acceptor.connection_class = connection_class

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
