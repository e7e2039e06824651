"""The channel of a client connection: its time limits while the client is slow, and interim responses."""

import math
import socket
from dataclasses import dataclass
from time import monotonic
from typing import ClassVar, Final

from greenlet import getcurrent, greenlet

from gproxy.http.body import Body
from gproxy.http.client_stream import InterimResponse, Readable
from gproxy.http.deadline import GRACE, Deadline
from gproxy.http.errors import ClientGone
from gproxy.http.phase import HANDLER, UPLOAD
from gproxy.http.request import Request
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.alarm import Alarm
from gproxy.runtime.buffers import Buffers
from gproxy.runtime.channel import Interrupted
from gproxy.runtime.expired import Expired
from gproxy.runtime.waitable import Waitable, as_waitable
from gproxy.server.buffered_channel import NO_BUFFERS, BufferedChannel

_BODY: Final = TimeLimit.BODY
_WRITE: Final = TimeLimit.WRITE
_RATE: Final = TimeLimit.RATE
#: After so many seconds without room for more of a response, its client counts as a slow reader.
_SLOW: Final = 1.0
#: An alarm expires by less than so many seconds too early.
_SLACK: Final = 0.002


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
    """A channel to a client that pauses the request's deadline while the gateway waits for the client.

    A slow upload runs into the body timeout and a client that does not read into the write timeout; the deadline
    bounds only the time of the gateway and its backends. With `min_rate`, each byte that the client sends or takes buys
    time to wait, at most as long as the timeout, and waiting spends it. So a client that is fast costs nothing, and one
    that pauses once is not cut.
    """

    reset_error: ClassVar[type[BaseException]] = ClientGone

    __slots__ = (
        "_id_key", "_received", "alarm", "body_timeout", "deadline", "min_rate", "request", "upload_peer",
        "write_timeout",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, alarm: Alarm, settings: ChannelSettings) -> None:
        super().__init__(sock, settings.buffers)
        #: Only the gateway sets the id of an exchange.
        self._id_key = settings.id_key
        self.alarm = alarm
        self.body_timeout = settings.body_timeout
        self.write_timeout = settings.write_timeout
        self.min_rate = settings.min_rate
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
            self._await_body()
        data = super().read(limit)
        self._received += len(data)
        return data

    def _await_body(self) -> None:
        deadline = self.deadline
        if deadline is None or not self.in_own_greenlet():  # an upload beside its response
            return
        started, alarm = monotonic(), self.alarm
        expires, limit = alarm.expires, alarm.limit  # the deadline, or a limit for one wait inside it
        most = self.body_timeout
        patience = self._patience(deadline, deadline.upload_patience, self._received, most)
        self._received = 0
        alarm.set(started + min(patience, most), _RATE if patience < most else _BODY)
        request = self.request
        phase = HANDLER if request is None else request.phase
        if request is not None:
            request.phase = UPLOAD
        try:
            if self.upload_peer is None:
                self.wait()
                self.has_event = True
            elif self.wait_or(self.upload_peer):
                self.has_event = True
            else:
                raise Interrupted
        finally:
            waited = monotonic() - started
            deadline.upload_patience = patience - waited
            self._resume(deadline, expires, limit, waited)
            if request is not None:
                request.phase = phase

    def _patience(self, deadline: Deadline, seconds: float, moved: int, timeout: float) -> float:
        """Return how long `min_rate` waits for a client that had so many seconds and has moved so many bytes since."""
        if not self.min_rate or not deadline.is_paced:
            return math.inf
        return min(max(seconds, 0.0) + moved / self.min_rate, max(timeout, GRACE))

    def _resume(self, deadline: Deadline, expires: float, limit: TimeLimit, waited: float) -> None:
        """Extend the deadline and the alarm by the seconds spent waiting for the client."""
        deadline.pause(waited)
        self.alarm.set(expires + waited, limit)

    def wait_writable(self) -> None:
        started, alarm, deadline = monotonic(), self.alarm, self.deadline
        expires, limit = alarm.expires, alarm.limit
        try:
            if deadline is None:
                alarm.set(started + self.write_timeout, _WRITE)
                super().wait_writable()
            else:
                self._await_reader(deadline, started)
        finally:
            if deadline is None:
                alarm.clear()
            else:
                self._resume(deadline, expires, limit, monotonic() - started)

    def _await_reader(self, deadline: Deadline, now: float) -> None:
        """Wait until the kernel has room, as long as the client takes enough of what the kernel has.

        The kernel has room for more only after the client has taken a third of it, which may be a megabyte.
        """
        timeout, left, has_room = self.write_timeout, self.in_kernel(), False
        patience = self._patience(deadline, deadline.read_patience, 0, timeout)
        ends = now + timeout
        while not has_room:
            limit = _RATE if patience < ends - now else _WRITE
            has_room = self._gets_room(deadline, now, min(patience, ends - now), limit)
            began, before = now, left
            now, left = monotonic(), self.in_kernel()
            patience -= now - began
            if left < before:
                patience = self._patience(deadline, patience, before - left, timeout)
                ends = now + timeout
            if not has_room and min(patience, ends - now) < _SLACK:
                raise Expired(limit)
        deadline.read_patience = patience

    def _gets_room(self, deadline: Deadline, now: float, seconds: float, limit: TimeLimit) -> bool:
        """Wait for the kernel; return False if it has no room after so many seconds, or once the reader is slow."""
        notify = deadline.on_slow_reader
        self.alarm.set(now + (seconds if notify is None else min(seconds, _SLOW)), limit)
        try:
            super().wait_writable()
        except Expired as expired:
            if expired.limit is not limit:
                raise
            if notify is not None:
                deadline.on_slow_reader = None
                notify()
            return False
        return True

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
