"""What a greenlet can wait for beside something else: a socket's channel, or a stream of a connection that many share.

A channel is woken by the watcher of its socket. A stream has no socket: the reader of its connection calls `notify`,
and the loop wakes the stream's greenlet in a turn of its own. The reader must not switch to that greenlet itself: the
call would return only when that greenlet waits for the loop and something else switches back to the reader.
"""

from typing import Any, Protocol

from greenlet import getcurrent, greenlet


class Observer(Protocol):
    """An object that is called when a peer has sent something or has closed, such as a greenlet."""

    def switch(self, waitable: Any, /) -> object: ...  # noqa: ANN401 each observer knows its kind of waitable


class Waitable:
    """A peer that sends bytes or ends, and the greenlet that waits for that.

    A stream inherits the methods that are not about waiting, too; a channel has its own.
    """

    __slots__ = (
        "_hub", "_is_notified", "_is_watching", "_observer", "_reader", "_switch", "buffer", "has_event", "is_closed",
    )  # fmt: skip

    def __init__(self, hub: Any) -> None:  # noqa: ANN401 gevent has no types
        self._hub = hub
        self._switch = hub.switch
        #: The greenlet that waits to receive, and the observer that is called while none waits.
        self._reader: greenlet | None = None
        self._observer: Observer | None = None
        #: Bytes received and not read yet; empty for a stream, whose end can be seen behind unread bytes.
        self.buffer = b""
        #: True if bytes, or the peer's end, came while no greenlet waited.
        self.has_event = False
        #: True once the peer is known to have closed.
        self.is_closed = False
        #: False once an event has found neither reader nor observer.
        self._is_watching = True
        #: True while the loop has the call of `_wake` before it.
        self._is_notified = False

    def piece(self, size: int) -> int:
        """Return how much of so many bytes to read at once from another peer, to send it to this one."""
        return size

    def wait(self) -> None:
        """Wait until there is something to receive."""
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
        """Make the current greenlet the reader. Raises RuntimeError if another one waits, which would never wake."""
        if self._reader is not None:
            raise RuntimeError("another greenlet already reads from this connection")
        self._reader = getcurrent()
        if not self._is_watching:
            self._watch()

    def wait_or(self, other: "Waitable") -> bool:
        """Wait until there is something to receive; return True if here, False if first at the other."""
        if self.has_event:
            return True
        if other.has_event:
            return False
        self._begin_reading()
        before = other.watch(self._reader)
        try:
            return self._switch() is self
        finally:
            self._reader = None
            # PERF: not by `watch`, which would start the watcher of a channel at rest
            other._observer = before  # noqa: SLF001 of the same class

    def notify(self) -> None:
        """Note that a stream has bytes or has ended, and wake who waits for it in the next turn of the loop.

        `has_event` stays True until the reader has taken what there is, or `is_gone` has looked.
        """
        self.has_event = True
        if self._reader is None and self._observer is None:
            self._is_watching = False
        else:
            self._wake_soon()

    def _wake_soon(self) -> None:
        if not self._is_notified:
            self._is_notified = True
            self._hub.loop.run_callback(self._wake)

    def _wake(self) -> None:
        """Switch to who waits now: since `notify` it may be another one, or none, or the event was seen."""
        self._is_notified = False
        if not self.has_event:
            return
        if self._reader is not None:
            self._reader.switch(self)
        elif self._observer is not None:
            self._observer.switch(self)
        else:
            self._is_watching = False

    def _watch(self) -> None:
        """Let events wake someone again, also the present one."""
        self._is_watching = True
        if self.has_event:
            self._wake_soon()

    def is_gone(self) -> bool:
        """Return whether the peer has closed; for a stream with an event, which is then seen."""
        self.has_event = self.is_closed
        return self.is_closed

    def has_left(self) -> bool:
        """Return whether the peer has closed, even behind unread bytes."""
        return self.is_closed

    def can_detect_close(self) -> bool:
        """Return whether the peer's end can be seen."""
        return True

    def has_unread(self) -> bool:
        """Return whether bytes have arrived that were not read; a stream looks at its pieces."""
        return bool(self.buffer)


def as_waitable(peer: object) -> Waitable | None:  # an object, because mypyc takes no channel for a protocol
    """Return the peer as what one greenlet can wait for beside another. PERF: a class, not a protocol."""
    return peer if isinstance(peer, Waitable) else None
