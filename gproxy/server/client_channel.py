"""The channel of a client connection: its time limits while the client is slow, and interim responses."""

import socket
from time import monotonic
from typing import ClassVar, Final

from greenlet import getcurrent, greenlet

from gproxy.http.body import Body
from gproxy.http.client_stream import InterimResponse, Readable
from gproxy.http.deadline import Deadline
from gproxy.http.errors import ClientGone
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.alarm import Alarm
from gproxy.runtime.channel import Channel, Interrupted

_BODY: Final = TimeLimit.BODY
_WRITE: Final = TimeLimit.WRITE


class DisconnectWatch:
    """An observer of a client channel that throws ClientGone into the sending greenlet when the client leaves.

    An event stream may be silent for hours; without this observer only its next event would show the end.
    """

    __slots__ = ("_sender",)

    def __init__(self, sender: greenlet) -> None:
        self._sender = sender

    def switch(self, channel: Channel) -> None:
        """Handle a readable channel, called from the loop: the client's end, or its next request."""
        channel.watch(None)
        if channel.is_gone():
            self._sender.throw(ClientGone)
        elif not channel.buffer:
            channel.watch(self)


class ClientChannel(Channel):
    """A channel to a client that pauses the request's deadline while the gateway waits for the client.

    A slow upload runs into the body timeout and a client that does not read into the write timeout; the deadline
    bounds only the time of the gateway and its backends.
    """

    reset_error: ClassVar[type[BaseException]] = ClientGone

    __slots__ = ("_id_key", "alarm", "body_timeout", "deadline", "upload_peer", "write_timeout")

    def __init__(
        self,
        sock: socket.socket,
        alarm: Alarm,
        *,
        body_timeout: float,
        write_timeout: float,
        id_key: str = "x-request-id",
    ) -> None:
        super().__init__(sock)
        #: Only the gateway sets the id of an exchange.
        self._id_key = id_key
        self.alarm = alarm
        self.body_timeout = body_timeout
        self.write_timeout = write_timeout
        #: Deadline of the request in progress; None between requests and for a tunnel.
        self.deadline: Deadline | None = None
        #: Channel of a backend that may answer during the upload, which makes waiting for the client pointless.
        self.upload_peer: Channel | None = None

    def in_own_greenlet(self) -> bool:
        """Return whether the connection's own greenlet calls; the alarm reaches no other one."""
        return getcurrent() is self.alarm.greenlet

    def interrupt_reads(self, peer: Readable | None) -> None:
        """Raise Interrupted in reads once `peer`, a backend that answers during the upload, is readable."""
        channel: object = peer  # mypyc takes no channel for a Readable
        self.upload_peer = channel if isinstance(channel, Channel) else None

    def start_tunnel(self) -> None:
        """End the deadline: from here on bytes go both ways, under an idle limit."""
        self.deadline = None

    def read(self, limit: int) -> bytes:
        """Return body bytes, at most `limit`; wait for them under the body timeout."""
        if not self.buffer and not self.has_event:
            self._await_body()
        return super().read(limit)

    def _await_body(self) -> None:
        deadline = self.deadline
        if deadline is None or not self.in_own_greenlet():  # an upload beside its response
            return
        started, alarm = monotonic(), self.alarm
        expires, limit = alarm.expires, alarm.limit  # the deadline, or a limit for one wait inside it
        alarm.set(started + self.body_timeout, _BODY)
        try:
            if self.upload_peer is None:
                self.wait()
                self.has_event = True
            elif self.wait_or(self.upload_peer):
                self.has_event = True
            else:
                raise Interrupted
        finally:
            self._resume(deadline, expires, limit, monotonic() - started)

    def _resume(self, deadline: Deadline, expires: float, limit: TimeLimit, waited: float) -> None:
        """Extend the deadline and the alarm by the seconds spent waiting for the client."""
        deadline.pause(waited)
        self.alarm.set(expires + waited, limit)

    def wait_writable(self) -> None:
        started, alarm = monotonic(), self.alarm
        expires, limit = alarm.expires, alarm.limit
        alarm.set(started + self.write_timeout, _WRITE)
        try:
            super().wait_writable()
        finally:
            if self.deadline is None:
                alarm.clear()
            else:
                self._resume(self.deadline, expires, limit, monotonic() - started)

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
