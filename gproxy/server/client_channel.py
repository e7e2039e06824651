"""The channel of a client connection: its time limits while the client is slow, and interim responses."""

import socket
from dataclasses import dataclass
from typing import ClassVar

from greenlet import getcurrent, greenlet

from gproxy.http.body import Body
from gproxy.http.buffers import NO_BUFFERS, Buffers
from gproxy.http.client_stream import InterimResponse, Readable
from gproxy.http.deadline import Deadline
from gproxy.http.errors import ClientGone
from gproxy.http.request import Request
from gproxy.runtime.alarm import Alarm
from gproxy.runtime.waitable import Waitable, as_waitable
from gproxy.server.buffered_channel import BufferedChannel
from gproxy.server.client_pace import ClientPace


@dataclass
class ChannelSettings:
    """The settings of a listener's client channels. `min_rate` is in bytes a second, 0 for none."""

    body_timeout: float
    write_timeout: float
    min_rate: int = 0
    #: The name of the header of requests' ids, in lower case.
    id_key: str = "x-request-id"
    #: The bytes that the process keeps for all slow clients.
    buffers: Buffers = NO_BUFFERS


class DisconnectWatch:
    """An observer of a client that throws ClientGone into the sending greenlet when the client leaves.

    An event stream may be silent for hours; without this observer only its next event would show the end.
    """

    __slots__ = ("_sender",)

    def __init__(self, sender: greenlet) -> None:
        self._sender = sender

    def switch(self, client: Waitable) -> None:
        """Handle a readable channel or stream, called from the loop: the client's end, or what it has sent instead."""
        client.watch(None)
        if client.is_gone():
            self._sender.throw(ClientGone)
        elif client.can_detect_close():
            client.watch(self)


class ClientChannel(BufferedChannel):
    """A channel to a client that pauses the request's deadline while the gateway waits for the client."""

    reset_error: ClassVar[type[BaseException]] = ClientGone

    __slots__ = ("_id_key", "_received", "alarm", "deadline", "pace", "request", "upload_peer")

    def __init__(self, sock: socket.socket, alarm: Alarm, settings: ChannelSettings) -> None:
        super().__init__(sock, settings.buffers)
        #: Only the gateway sets the id of an exchange.
        self._id_key = settings.id_key
        self.alarm = alarm
        self.pace = ClientPace(
            alarm,
            body_timeout=settings.body_timeout,
            write_timeout=settings.write_timeout,
            min_rate=settings.min_rate,
        )
        #: Bytes of bodies read since the last wait for one.
        self._received = 0
        #: Deadline of the request in progress; None between requests and for a tunnel.
        self.deadline: Deadline | None = None
        #: The request in progress, for its phase.
        self.request: Request | None = None
        #: A backend that may answer during the upload, which makes waiting for the client pointless.
        self.upload_peer: Waitable | None = None

    def in_own_greenlet(self) -> bool:
        """Return whether the connection's own greenlet calls; the alarm reaches no other one."""
        return getcurrent() is self.alarm.greenlet

    def interrupt_reads(self, peer: Readable | None) -> None:
        """Raise Interrupted in reads once `peer`, a backend that answers during the upload, is readable."""
        self.upload_peer = as_waitable(peer)

    def read_ahead(self, limit: int) -> None:
        """Keep up to so many bytes of the response while the client reads slowly."""
        self.send_ahead_limit = limit

    def start_tunnel(self) -> None:
        """End the deadline: from here on bytes go both ways, under an idle limit."""
        self.deadline = None

    def read(self, limit: int) -> bytes:
        """Return body bytes, at most `limit`; wait for them under the body timeout."""
        if not self.buffer and not self.has_event:
            deadline = self.deadline
            if deadline is not None and self.in_own_greenlet():  # else an upload beside its response
                received, self._received = self._received, 0
                self.pace.await_upload(self, deadline, self.request, received, self.upload_peer)
        data = super().read(limit)
        self._received += len(data)
        return data

    def wait_writable(self) -> None:
        self.pace.await_room(self, self.deadline)

    def unsent(self) -> int:
        """Return the number of sent bytes that the client's system has not taken yet."""
        return self.in_kernel()

    def await_room(self) -> None:
        """Wait until the kernel has room, without a limit."""
        super().wait_writable()

    def send_continue(self) -> None:
        """Send a 100 response (RFC 9110 section 15.2.1)."""
        self.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def send_interim(self, answer: InterimResponse, body: Body) -> None:
        """Forward a backend's 1xx; a 100 only to a client that waits for it (RFC 9110 section 15.2)."""
        if answer.status == 100:
            if body.on_first_read is not None:
                body.on_first_read = None
                self.send_continue()
            return
        headers = answer.headers.copy()
        headers.discard("content-length")  # a 1xx has no framing (RFC 9110 section 8.6)
        headers.discard(self._id_key)
        self.send(f"HTTP/1.1 {answer.status} {answer.phrase}\r\n{headers.lines()}\r\n".encode("latin-1"))
