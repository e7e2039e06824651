"""Look-ups of names by the system's resolver, in threads that one kind of names has for itself."""

import _socket
import socket
from collections.abc import Callable
from typing import Any

import gevent
import gevent.socket
from gevent.resolver.thread import Resolver
from gevent.threadpool import ThreadPool


class Names:
    """The look-ups of one kind of names: each name once at a time, and at most `threads` names side by side.

    A dead name server blocks a thread for half a minute. So these threads are none of `Runtime.offload`, and a dead
    name of one kind delays no name of another kind.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool: ThreadPool | None = None
        #: The look-ups under way by name: callers share them, and they survive the time limits of callers.
        self._running: dict[str, gevent.Greenlet] = {}

    def addresses(self, host: str) -> list[str]:
        """Return the addresses of a name, the preferred one first. Raises OSError if it does not resolve."""
        running = self._running.get(host)
        if running is None:
            running = self._running[host] = gevent.spawn(self._look_up, host)
        found: list[str] | OSError = running.get()
        if isinstance(found, OSError):
            raise found
        return found

    def _look_up(self, host: str) -> list[str] | OSError:
        """Return the addresses or the error; an exception of a greenlet would be printed."""
        try:
            if not isinstance(gevent.get_hub().resolver, Resolver):  # GEVENT_RESOLVER has replaced the threads
                return _found(gevent.socket.getaddrinfo, host)
            if self._pool is None:
                self._pool = ThreadPool(self._threads)
            found: list[str] | OSError = self._pool.apply(_found, (_socket.getaddrinfo, host))
            return found
        finally:
            del self._running[host]


def _found(getaddrinfo: Callable[..., Any], host: str) -> list[str] | OSError:
    try:
        found = getaddrinfo(host, None, socket.AF_UNSPEC, socket.SOCK_STREAM)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))
    except OSError as error:
        return error
    except UnicodeError:
        return socket.gaierror(socket.EAI_NONAME, "the name is invalid")
