"""The accept loop of one listening socket: takes the waiting connections, and serves each in a greenlet.

PERF: compiled, and without the generic steps of gevent's servers.
"""

import _socket
from collections.abc import Callable
from typing import Any, Final

import gevent
from greenlet import getcurrent, greenlet

from gproxy.server.connection import ClientConnection
from gproxy.server.context import ServerContext
from gproxy.upstream.failure import SHORTAGES

#: Greenlets kept for further connections.
_PARKED: Final = 32

#: Makes a connection from (socket, address, context).
ConnectionClass = Callable[[Any, Any, ServerContext], ClientConnection]


class Acceptor:
    """The acceptor of a listening socket.

    `on_shortage` is called, and accepting ends for this turn, when descriptors or memory run short.
    """

    def __init__(
        self,
        listener: Any,  # noqa: ANN401 a socket of gevent, whose `_accept` has no type
        context: ServerContext,
        connection_class: ConnectionClass,
        on_shortage: Callable[[OSError], None],
    ) -> None:
        self.context = context
        self.connection_class = connection_class
        #: True from a shortage until a connection is accepted.
        self.is_short = False
        self._on_shortage = on_shortage
        self._accept = listener._accept  # noqa: SLF001 gevent's `accept` would make a wrapper, and set a watcher
        # PERF: gevent computes these at each look-up, for 1.4 µs.
        self._kind = int(listener.family), int(listener.type), int(listener.proto)
        self._parked: list[greenlet] = context.runtime.process.parked

    def accept(self, most: int) -> None:
        """Accept the waiting connections, up to so many."""
        family, kind, protocol = self._kind
        parked = self._parked
        for _ in range(most):
            try:
                descriptor, address = self._accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in SHORTAGES:
                    self._on_shortage(error)
                return  # else the client left before accept
            self.is_short = False
            sock = _socket.socket(family, kind, protocol, descriptor)  # without a wrapper: a channel has a watcher
            sock.setblocking(False)
            accepted = (sock, address, self)
            if parked:
                gevent.get_hub().loop.run_callback(parked.pop().switch, accepted)
            else:
                gevent.spawn_raw(_serve, parked, accepted)


def _serve(parked: list[greenlet], accepted: tuple[Any, Any, Acceptor]) -> None:
    """Serve connections in one greenlet; PERF: a new greenlet maps and unmaps memory for its frames."""
    while True:
        sock, address, acceptor = accepted
        acceptor.connection_class(sock, address, acceptor.context).handle()
        if len(parked) >= _PARKED:
            return
        own = getcurrent()
        own.gr_context = None  # a handler's ContextVars belong to the previous client
        parked.append(own)
        accepted = gevent.get_hub().switch()
