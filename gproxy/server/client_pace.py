"""How long the gateway waits for a client that sends or reads slowly, in every protocol."""

import math
from time import monotonic
from typing import Final, Protocol

from gproxy.http.deadline import GRACE, Deadline
from gproxy.http.phase import HANDLER, UPLOAD
from gproxy.http.request import Request
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.alarm import Alarm
from gproxy.runtime.channel import Interrupted
from gproxy.runtime.expired import Expired
from gproxy.runtime.waitable import Waitable

_BODY: Final = TimeLimit.BODY
_WRITE: Final = TimeLimit.WRITE
_RATE: Final = TimeLimit.RATE
#: After so many seconds without room for more of a response, its client counts as a slow reader.
_SLOW: Final = 1.0
#: An alarm expires by less than so many seconds too early.
_SLACK: Final = 0.002


class SlowReader(Protocol):
    """A client to which more is to be sent than it takes now."""

    def unsent(self) -> int:
        """Return the number of bytes that the client has not taken yet, as far as known; less of them is progress."""

    def await_room(self) -> None:
        """Wait until more may be sent, without a limit."""


class ClientPace:
    """The time limits of a client: they pause the request's deadline while the gateway waits for the client.

    A slow upload runs into the body timeout and a client that does not read into the write timeout; the deadline
    bounds only the time of the gateway and its backends. With `min_rate`, each byte that the client sends or takes buys
    time to wait, at most as long as the timeout, and waiting spends it. So a client that is fast costs nothing, and one
    that pauses once is not cut.
    """

    __slots__ = ("alarm", "body_timeout", "min_rate", "write_timeout")

    def __init__(self, alarm: Alarm, *, body_timeout: float, write_timeout: float, min_rate: int) -> None:
        self.alarm = alarm
        self.body_timeout = body_timeout
        self.write_timeout = write_timeout
        #: In bytes a second; 0 for none.
        self.min_rate = min_rate

    def await_upload(
        self, client: Waitable, deadline: Deadline, request: Request | None, received: int, peer: Waitable | None
    ) -> None:
        """Wait until the client sends more, after it has sent so many bytes since the last wait.

        Raises Expired, and Interrupted once `peer`, a backend that answers during the upload, is readable.
        """
        started, alarm = monotonic(), self.alarm
        expires, limit = alarm.expires, alarm.limit  # the deadline, or a limit for one wait inside it
        most = self.body_timeout
        patience = self._patience(deadline, deadline.upload_patience, received, most)
        alarm.set(started + min(patience, most), _RATE if patience < most else _BODY)
        phase = HANDLER if request is None else request.phase
        if request is not None:
            request.phase = UPLOAD
        try:
            if peer is None:
                client.wait()
            elif not client.wait_or(peer):
                raise Interrupted
            client.has_event = True
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

    def await_room(self, reader: SlowReader, deadline: Deadline | None) -> None:
        """Wait until the client has taken enough for more to be sent. Raises Expired.

        Without a deadline, as in a tunnel, only the write timeout bounds the wait.
        """
        started, alarm = monotonic(), self.alarm
        expires, limit = alarm.expires, alarm.limit
        try:
            if deadline is None:
                alarm.set(started + self.write_timeout, _WRITE)
                reader.await_room()
            else:
                self._await_reader(reader, deadline, started)
        finally:
            if deadline is None:
                alarm.clear()
            else:
                self._resume(deadline, expires, limit, monotonic() - started)

    def _await_reader(self, reader: SlowReader, deadline: Deadline, now: float) -> None:
        """Wait until there is room, as long as the client takes enough of what waits for it.

        There may be room only after the client has taken a lot: a third of the kernel's buffer, which may be a
        megabyte, or all that is kept of a stream.
        """
        timeout, left, has_room = self.write_timeout, reader.unsent(), False
        patience = self._patience(deadline, deadline.read_patience, 0, timeout)
        ends = now + timeout
        while not has_room:
            limit = _RATE if patience < ends - now else _WRITE
            has_room = self._gets_room(reader, deadline, now, min(patience, ends - now), limit)
            began, before = now, left
            now, left = monotonic(), reader.unsent()
            patience -= now - began
            if left < before:
                patience = self._patience(deadline, patience, before - left, timeout)
                ends = now + timeout
            if not has_room and min(patience, ends - now) < _SLACK:
                raise Expired(limit)
        deadline.read_patience = patience

    def _gets_room(self, reader: SlowReader, deadline: Deadline, now: float, seconds: float, limit: TimeLimit) -> bool:
        """Wait for room; return False if there is none after so many seconds, or once the reader is slow."""
        notify = deadline.on_slow_reader
        self.alarm.set(now + (seconds if notify is None else min(seconds, _SLOW)), limit)
        try:
            reader.await_room()
        except Expired as expired:
            if expired.limit is not limit:
                raise
            if notify is not None:
                deadline.on_slow_reader = None
                notify()
            return False
        return True
