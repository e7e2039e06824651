"""The channel of a connection to a backend; its waits also observe the client."""

import socket
from collections.abc import Callable
from typing import ClassVar, Final

import gevent

from gproxy.http.deadline import Deadline
from gproxy.http.errors import ClientGone
from gproxy.runtime.channel import Channel
from gproxy.runtime.waitable import Waitable

#: How often a blocked upload checks whether its client has left and whether the backend takes bytes, in seconds.
_CHECK: Final = 0.2
#: The kernels take so much of an upload at once, in bytes; a longer one may wait in them for the backend.
LONG_UPLOAD: Final = 64 * 1024


class BackendChannel(Channel):
    """A channel to a backend; its waits raise ClientGone if the client leaves."""

    #: Above the client channels' priority, so that the end of an idle connection is seen before a request uses it.
    priority: ClassVar[int] = 1

    __slots__ = ("client", "deadline", "tunnel_client", "uploader")

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        #: The client that waits for the response.
        self.client: Waitable | None = None
        #: The client of a tunnel, whose end is not observed here.
        self.tunnel_client: Waitable | None = None
        #: The client that sends the request body.
        self.uploader: Waitable | None = None
        #: The deadline of a request with a body, which starts anew while the backend takes it.
        self.deadline: Deadline | None = None

    def receive(self, limit: int) -> bytes:
        """Return the next bytes from the socket, as many as the client may get at once; b"" at the backend's end."""
        client = self.client
        if client is None:
            client = self.tunnel_client
            if client is None:
                return super().receive(limit)
        if not self.has_event:
            self.wait()
            self.has_event = True
        return super().receive(client.piece(limit))  # asked after the wait: other clients may have become slow

    def is_quiet(self) -> bool:
        """Return whether an event brought no HTTP bytes, as TLS records may; False for every plain socket."""
        return False

    def has_spoken(self) -> bool:
        """Return whether HTTP bytes, or the end, can be read."""
        return bool(self.buffer) or (self.has_event and not self.is_quiet())

    def wait(self) -> None:
        client = self.client
        if client is None or client.buffer:  # unread bytes of a pipelined request hide the client's end
            super().wait()
            return
        while not self.wait_or(client):  # PERF: by far the most common wait
            if client.is_gone():
                raise ClientGone
            if client.buffer:
                super().wait()
                return

    def wait_writable(self) -> None:
        """Wait until writable, with checks of the client: unread upload bytes hide the client's end."""
        self._wait_with_checks(super().wait_writable)

    def _writable_or_readable(self) -> None:
        self._wait_with_checks(super()._writable_or_readable)

    def _wait_with_checks(self, wait: Callable[[], None]) -> None:
        deadline, uploader = self.deadline, self.uploader
        if deadline is None:
            wait()
            return
        left = self.in_kernel()
        with gevent.Timeout(_CHECK, False):  # after a timeout the caller sends again, and waits again
            wait()
            deadline.renew()
            return
        if uploader is not None and uploader.has_left():
            raise ClientGone
        if self.in_kernel() < left:
            deadline.renew()

    def await_end_of_upload(self) -> None:
        """Wait until the backend has taken all of the upload or sends something; its time starts anew meanwhile."""
        deadline, left = self.deadline, self.in_kernel()
        while left and deadline is not None and not self.has_spoken() and not self._speaks_within(_CHECK):
            before, left = left, self.in_kernel()
            if left < before:
                deadline.renew()

    def _speaks_within(self, seconds: float) -> bool:
        with gevent.Timeout(seconds, False):
            self.wait()
            self.has_event = True
        return self.has_spoken()
