"""A socket under gevent with one read watcher that stays on from open to close.

gevent's own wait starts and stops a watcher around every read, which costs a hub call and an epoll_ctl that fails.
Here the watcher's callback switches to whoever waits. If nobody does, it stops the watcher and notes that something
came: so a connection that is not being read tells for free that its peer has sent something or has left.
"""

import select
import socket
from typing import Any, ClassVar, Final, Protocol

import gevent
from gevent.monkey import get_original
from greenlet import getcurrent, greenlet

from gproxy.runtime.expired import Expired

_READ: Final = 1
_WRITE: Final = 2
#: Only Linux has a word for it; elsewhere only a reset is seen.
_LEFT: Final[int] = getattr(select, "POLLRDHUP", 0)
#: The real one, which does not wait; gevent's would.
_new_poll: Final = get_original("select", "poll")


class Interrupted(BaseException):
    """What is read from one peer does not matter any more: the other one has spoken."""


class Observer(Protocol):
    """What is called when a channel's peer has sent something or has left; a greenlet is one."""

    def switch(self, channel: "Channel", /) -> Any: ...


class Channel:
    """Reads wait, then receive once; sends go out at once and wait only for what the kernel did not take.

    Every method raises `reset_error` when the peer has reset the connection.
    """

    #: What a reset is, for whoever reads and sends here.
    reset_error: ClassVar[type[BaseException]] = ConnectionError
    #: Of what one turn of the loop brings, the higher is told first; from -2 to 2.
    priority: ClassVar[int] = 0

    __slots__ = (
        "_hub",
        "_is_watching",
        "_observer",
        "_raw",
        "_reader",
        "_receive",
        "_send",
        "_sock",
        "_switch",
        "_watcher",
        "buffer",
        "has_event",
        "is_closed",
    )  # fmt: skip

    def __init__(self, sock: Any) -> None:
        raw = getattr(sock, "_sock", sock)  # gevent's socket wraps the real one, which is what never blocks the hub
        self._sock = sock
        self._raw = raw
        self._receive = raw.recv
        self._send = raw.send
        self._hub = gevent.get_hub()
        self._switch = self._hub.switch
        self._watcher = self._hub.loop.io(raw.fileno(), _READ, True, self.priority)
        #: The greenlet that waits in order to receive, and what is called while none does.
        self._reader: greenlet | None = None
        self._observer: Observer | None = None
        #: Received and not yet taken.
        self.buffer = b""
        #: Something came while nobody was waiting: bytes, or the peer's end.
        self.has_event = False
        #: Has somebody found that the peer has closed?
        self.is_closed = False
        self._is_watching = True
        self._watcher.start(self._on_readable)

    def _on_readable(self) -> None:
        if self._reader is not None:
            self._reader.switch(self)
        elif self._observer is not None:
            self._observer.switch(self)
        else:
            self._watcher.stop()
            self._is_watching = False
            self.has_event = True

    def _lost(self, error: OSError) -> BaseException:
        """`reset_error` with what has led to it; compiled, `from` would not say so."""
        self.is_closed = True
        lost = self.reset_error()
        lost.__cause__ = error
        return lost

    def wait(self) -> None:
        """Until there is something to receive."""
        if self.has_event:
            return
        self._begin_reading()
        try:
            self._switch()
        finally:
            self._reader = None

    def watch(self, observer: "Observer | None") -> "Observer | None":
        """Call `observer.switch(self)` from the loop while there is something to receive and no greenlet waits for it.

        Return the observer before it, which has to be put back; None is no observer.
        """
        before, self._observer = self._observer, observer
        if observer is not None and not self._is_watching:
            self._watch()
        return before

    def _begin_reading(self) -> None:
        """Raises RuntimeError if another greenlet waits already: it would wait for ever."""
        if self._reader is not None:
            raise RuntimeError("another greenlet waits for this connection already")
        self._reader = getcurrent()
        if not self._is_watching:
            self._watch()

    def wait_or(self, other: "Channel") -> bool:
        """Until there is something to receive here (True) or, first, on the other (False)."""
        if self.has_event:
            return True
        if other.has_event:
            return False
        self._begin_reading()
        try:
            before = other.watch(self._reader)
            try:
                return self._switch() is self
            finally:
                other.watch(before)
        finally:
            self._reader = None

    def _watch(self) -> None:
        self._watcher.start(self._on_readable)
        self._is_watching = True

    def receive(self, limit: int) -> bytes:
        """The next bytes from the socket, past the buffer; b"" at the peer's end."""
        while True:
            if not self.has_event:
                self.wait()
            self.has_event = False
            try:
                return self._receive(limit)  # type: ignore[no-any-return]
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._lost(error) from error

    def read(self, limit: int) -> bytes:
        """At most `limit` bytes, those buffered or the next to come; b"" at the peer's end."""
        buffer = self.buffer
        if not buffer:
            return self.receive(limit)
        self.buffer = buffer[limit:]
        return buffer[:limit]

    def give_back(self, data: bytes) -> None:
        """Bytes taken that belong to whoever reads next."""
        self.buffer = data + self.buffer

    def is_gone(self) -> bool:
        """Has the peer closed? To be asked once something was noted; what it sent instead goes into the buffer."""
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
        """All of it. Raises OSError, and what an alarm throws."""
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise self._lost(error) from error
        if sent != len(data):
            self._send_rest(memoryview(data)[sent:])

    def send_last(self, data: bytes) -> None:
        """All of it, with the end of what is sent right behind: `close` or `shut_writing` must follow at once."""
        try:
            sent = self._raw.send(data, socket.MSG_MORE)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise self._lost(error) from error
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
                raise self._lost(error) from error

    def wait_writable(self) -> None:
        """Until the kernel takes more bytes."""
        watcher = self._hub.loop.io(self._raw.fileno(), _WRITE)
        try:
            self._hub.wait(watcher)
        finally:
            watcher.close()

    def send_unless_readable(self, data: bytes | memoryview) -> memoryview:
        """Send until all is out or the peer says something; what was not sent is returned."""
        rest = memoryview(data)
        while rest and not self.has_event:
            try:
                rest = rest[self._send(rest) :]
            except BlockingIOError:
                self._writable_or_readable()
            except OSError as error:
                raise self._lost(error) from error
        return rest

    def _writable_or_readable(self) -> None:
        self._begin_reading()
        watcher = self._hub.loop.io(self._raw.fileno(), _WRITE)
        watcher.start(getcurrent().switch, None)
        try:
            self.has_event = self._switch() is self
        finally:
            self._reader = None
            watcher.close()

    def shut_writing(self) -> None:
        """Tell the peer that no more comes."""
        self._shut(socket.SHUT_WR)

    def shut(self) -> None:
        """End both directions; whoever waits for the peer sees its end."""
        self._shut(socket.SHUT_RDWR)

    def _shut(self, how: int) -> None:
        try:
            self._sock.shutdown(how)
        except OSError:
            pass

    def can_detect_close(self) -> bool:
        """Return whether the peer's end can be seen: not behind bytes that nobody has read yet."""
        return not self.buffer

    def has_left(self) -> bool:
        """Has the peer ended, behind whatever it has sent that was not received yet? Not every system can tell."""
        poll = _new_poll()
        poll.register(self._raw.fileno(), _LEFT)
        if poll.poll(0):
            self.is_closed = True
            return True
        return False

    def abort(self) -> None:
        """Have close() send a reset: the peer must not take what it got for all there was."""
        try:
            self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        except OSError:
            pass

    def close(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        self._is_watching = False
        if self._reader is not None:  # of a handler's own making; it would wait for ever
            self._hub.loop.run_callback(_end, self._reader, self.reset_error)
        # Methods of a subclass would keep the channel, and OpenSSL's buffers, until the garbage is collected.
        self._receive, self._send = self._raw.recv, self._raw.send
        self._sock.close()

    def drain(self, limit: int, seconds: float) -> None:
        """Read and forget until the peer closes, so that the answer we sent is not lost to a reset.

        Do nothing if another greenlet reads already.
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
