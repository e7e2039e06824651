"""A socket under gevent with one read watcher that lasts from open to close.

gevent's own wait starts and stops a watcher around every read, which costs a hub call and an epoll_ctl that fails.
Here the watcher's callback switches to the waiting greenlet. If none waits, it stops the watcher and sets `has_event`:
so an idle connection shows without cost that its peer has sent something or has closed.
"""

import select
import socket
import struct
from array import array
from fcntl import ioctl
from termios import TIOCOUTQ
from time import monotonic
from typing import Any, ClassVar, Final

import gevent
from gevent.monkey import get_original
from greenlet import getcurrent, greenlet

from gproxy.runtime.expired import Expired
from gproxy.runtime.waitable import Waitable

#: A struct ucred: process, user, group.
_CREDENTIALS: Final = struct.Struct("iII")
_READ: Final = 1
_WRITE: Final = 2
#: Only Linux has POLLRDHUP; elsewhere `has_left` sees only a reset.
_LEFT: Final[int] = getattr(select, "POLLRDHUP", 0)
#: The original poll, which does not yield to the hub; gevent's does.
_new_poll: Final = get_original("select", "poll")


class Interrupted(BaseException):
    """The end of a read from one peer because the other peer has sent something."""


class Channel(Waitable):
    """A socket whose reads wait and then receive once, and whose sends wait only when the kernel's buffer is full.

    Every method raises `reset_error` when the peer has reset the connection.
    """

    #: The exception for a reset.
    reset_error: ClassVar[type[BaseException]] = ConnectionError
    #: Priority of the watcher within one turn of the loop, from -2 to 2; higher runs first.
    priority: ClassVar[int] = 0

    __slots__ = ("_raw", "_receive", "_send", "_sock", "_watcher", "event_at")

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(gevent.get_hub())
        raw = getattr(sock, "_sock", sock)  # gevent's socket wraps a non-blocking one
        self._sock = sock
        self._raw = raw
        self._receive = raw.recv
        self._send = raw.send
        self._watcher = self._hub.loop.io(raw.fileno(), _READ, True, self.priority)
        #: When bytes, or the peer's end, came while no greenlet waited, on the monotonic clock.
        self.event_at = 0.0
        self._watcher.start(self._on_readable)

    def peer_process(self) -> tuple[int, int]:
        """Return the process id and the user id of the peer, on a unix socket."""
        data = self._raw.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(data)
        return pid, uid

    def _on_readable(self) -> None:
        if self._reader is not None:
            self._reader.switch(self)
        elif self._observer is not None:
            self._observer.switch(self)
        else:
            self._watcher.stop()
            self._is_watching = False
            self.has_event = True
            self.event_at = monotonic()

    def look(self) -> None:
        """Notice what has come though the loop has not called yet: a loop that was held up calls for the others first.

        Nothing may wait for the channel meanwhile.
        """
        if not self.has_event:
            try:
                self._raw.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                return
            except OSError:
                pass  # the next read raises it
            self._on_readable()

    def _reset(self, error: OSError) -> BaseException:
        """Return `reset_error` with its text and cause; compiled code does not set `__cause__` by `from`."""
        self.is_closed = True
        reset = self.reset_error(str(error))
        reset.__cause__ = error
        return reset

    def _watch(self) -> None:
        self._watcher.start(self._on_readable)
        self._is_watching = True

    def receive(self, limit: int) -> bytes:
        """Return the next bytes from the socket, bypassing the buffer; b"" at the peer's end."""
        while True:
            if not self.has_event:
                self.wait()
            self.has_event = False
            try:
                return self._receive(limit)
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._reset(error) from error

    def read(self, limit: int) -> bytes:
        """Return at most `limit` bytes, from the buffer or else from the socket; b"" at the peer's end."""
        buffer = self.buffer
        if not buffer:
            return self.receive(limit)
        self.buffer = buffer[limit:]
        return buffer[:limit]

    def give_back(self, data: bytes) -> None:
        """Put bytes back in front of the buffer, for the next read."""
        self.buffer = data + self.buffer

    def is_gone(self) -> bool:
        """Return whether the peer has closed; buffer what it has sent instead. For a channel with an event."""
        try:
            data: bytes = self._receive(65536)
        except BlockingIOError:
            self.has_event = False
            return False
        except OSError:
            data = b""
        self.buffer += data
        if not data:
            self.is_closed = True
        return not data

    def send(self, data: bytes | memoryview) -> None:
        """Send all data. Raises OSError, and the alarm's Expired."""
        sent = self.send_now(data)
        if sent != len(data):
            self._send_rest(memoryview(data)[sent:])

    def send_now(self, data: bytes | memoryview) -> int:
        """Send what the kernel takes at once; return the number of bytes. The next call must begin with the rest.

        Raises `reset_error`.
        """
        try:
            sent: int = self._send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._reset(error) from error
        return sent

    def send_both(self, head: bytes, body: bytes) -> None:
        """Send both in one call, without a copy of the body. Raises as `send`."""
        rest = self._send_pair(head, body)
        if rest:
            self._send_rest(rest)

    def _send_pair(self, head: bytes, body: bytes) -> memoryview:
        """Send what the kernel takes at once; return the rest."""
        try:
            sent: int = self._raw.sendmsg((head, body))
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise self._reset(error) from error
        return memoryview(body)[sent - len(head) :] if sent >= len(head) else memoryview(head + body)[sent:]

    def send_last(self, data: bytes) -> None:
        """Send all data, the last of it together with the FIN: `close` or `shut_writing` must follow at once."""
        try:
            sent = self._raw.send(data, socket.MSG_MORE)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise self._reset(error) from error
        if sent != len(data):
            self._send_rest(memoryview(data)[sent:])

    def _send_rest(self, rest: memoryview) -> None:
        while rest:
            self.wait_writable()
            try:
                rest = rest[self._send(rest) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._reset(error) from error

    def wait_writable(self) -> None:
        """Wait until the kernel accepts more bytes."""
        watcher = self.write_watcher()
        try:
            self._hub.wait(watcher)
        finally:
            watcher.close()

    def write_watcher(self) -> Any:  # noqa: ANN401 gevent has no types
        """Return a watcher of the loop for room in the kernel; it must be stopped and closed."""
        return self._hub.loop.io(self._raw.fileno(), _WRITE)

    def in_kernel(self) -> int:
        """Return how many sent bytes the peer's system has not taken yet; 0 if this system does not say."""
        count = array("i", [0])
        try:
            ioctl(self._raw.fileno(), TIOCOUTQ, count)
        except OSError:
            return 0
        return count[0]

    def send_unless_readable(self, data: bytes | memoryview) -> memoryview:
        """Send until all data is sent or the peer sends something; return the unsent rest."""
        rest = memoryview(data)
        while rest and not self.has_event:
            try:
                rest = rest[self._send(rest) :]
            except BlockingIOError:
                self._writable_or_readable()
            except OSError as error:
                raise self._reset(error) from error
        return rest

    def _writable_or_readable(self) -> None:
        self._begin_reading()
        watcher = self.write_watcher()
        watcher.start(getcurrent().switch, None)
        try:
            self.has_event = self._switch() is self
        finally:
            self._reader = None
            watcher.close()

    def shut_writing(self) -> None:
        """End the sending direction: the peer sees the end of the data."""
        self._shut(socket.SHUT_WR)

    def shut(self) -> None:
        """End both directions; a greenlet that reads sees the peer's end."""
        self._shut(socket.SHUT_RDWR)

    def _shut(self, how: int) -> None:
        try:
            self._sock.shutdown(how)
        except OSError:
            pass

    def can_detect_close(self) -> bool:
        """Return whether the peer's end can be seen: not behind unread bytes."""
        return not self.buffer

    def has_left(self) -> bool:
        """Return whether the peer has closed, even behind unread bytes; always False without POLLRDHUP."""
        poll = _new_poll()
        poll.register(self._raw.fileno(), _LEFT)
        if poll.poll(0):
            self.is_closed = True
            return True
        return False

    def abort(self) -> None:
        """Make `close` send a reset, so that the peer cannot take the data for complete."""
        try:
            self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        except OSError:
            pass

    def close(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        self._is_watching = False
        if self._reader is not None:  # a handler's greenlet, which would never wake
            self._hub.loop.run_callback(_end, self._reader, self.reset_error)
        # Bound methods of a subclass would keep the channel and OpenSSL's buffers until the next garbage collection.
        self._receive, self._send = self._raw.recv, self._raw.send
        self._sock.close()

    def discard(self, limit: int, seconds: float) -> None:
        """Read and discard until the peer closes, so that no reset destroys the response.

        Do nothing if another greenlet already reads.
        """
        if self._reader is not None:
            return
        with gevent.Timeout(seconds, False):
            try:
                while limit > 0 and (data := self.receive(65536)):
                    limit -= len(data)
            except (self.reset_error, Expired):
                pass


def _end(reader: greenlet, error: type[BaseException]) -> None:
    """Throw the error into the greenlet, from the loop."""
    if not reader.dead:
        reader.throw(error)
