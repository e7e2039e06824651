"""The backend's side of a connection: what waiting for a backend notices meanwhile."""

from collections.abc import Callable
from typing import Any, ClassVar, Final

import gevent

from gproxy.http.errors import ClientGone
from gproxy.runtime.channel import Channel

#: How often it is asked whether a client is still there whose upload the backend does not take, in seconds.
_LOOK_ROUND: Final = 0.5


class BackendChannel(Channel):
    """Waits for the backend, and notices meanwhile that the client has left."""

    #: Before the clients', so that a request never leaves over a connection whose end has come already.
    priority: ClassVar[int] = 1

    __slots__ = ("client", "uploader")

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        #: Whoever waits for what is read here.
        self.client: Channel | None = None
        #: Whoever sends what is written here.
        self.uploader: Channel | None = None

    def is_quiet(self) -> bool:
        """Was what came nothing of HTTP's business? On a plain socket it never is."""
        return False

    def has_spoken(self) -> bool:
        """Is there something of HTTP's business to be read?"""
        return bool(self.buffer) or (self.has_event and not self.is_quiet())

    def wait(self) -> None:
        client = self.client
        if client is None or client.buffer:  # behind a pipelined request nobody can see the end
            super().wait()
            return
        while not self.wait_or(client):  # PERF: by far the most common wait
            if client.is_gone():
                raise ClientGone
            if client.buffer:
                super().wait()
                return

    def wait_writable(self) -> None:
        """For as long as the client is there: it cannot be heard while what it has sent is not read."""
        self._while_it_is_there(super().wait_writable)

    def _writable_or_readable(self) -> None:
        self._while_it_is_there(super()._writable_or_readable)

    def _while_it_is_there(self, wait: Callable[[], None]) -> None:
        uploader = self.uploader
        if uploader is None:
            wait()
            return
        with gevent.Timeout(_LOOK_ROUND, False):  # whoever sends tries again, and comes back
            wait()
            return
        if uploader.has_left():
            raise ClientGone
