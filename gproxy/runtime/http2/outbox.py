"""The pieces of one stream's body that wait for a turn of the connection, or for the peer's windows."""

from collections import deque

import gevent
from greenlet import greenlet

from gproxy.http.buffers import Buffers
from gproxy.http.h2.session import Session
from gproxy.http.h2.stream import Stream


class Outbox:
    """The unsent pieces of a stream. The transport takes frames from them; the `sender` waits meanwhile.

    PERF: a stream whose pieces are sent at once has none.
    """

    __slots__ = (
        "_buffers", "_pieces", "_session", "dropped", "ends", "enough", "is_waiting", "kept", "last_turn", "sender",
        "stream", "taken", "wants_room",
    )  # fmt: skip

    def __init__(self, session: Session, stream: Stream, buffers: Buffers) -> None:
        self.stream = stream
        self._session = session
        self._buffers = buffers
        self._pieces: deque[bytes | memoryview] = deque()
        #: The size of the pieces, of all bytes that the transport has taken, and of those that were forgotten.
        self.kept = self.taken = self.dropped = 0
        #: True if END_STREAM leaves with the last piece.
        self.ends = False
        #: True while the sender waits for room on the connection, to append something itself.
        self.wants_room = False
        #: The greenlet that waits until fewer bytes than `enough` are kept; None while none waits.
        self.sender: greenlet | None = None
        self.enough = 0
        #: True while the outbox is in the transport's list, and the number of the send at its last turn.
        self.is_waiting = False
        self.last_turn = 0

    def keep(self, data: bytes | memoryview) -> None:
        """Keep a piece behind the others."""
        self._pieces.append(data)
        self.kept += len(data)
        self._buffers.add(len(data))

    def may_append(self) -> bool:
        """Return whether something can be sent: an end and a head need no window."""
        if self._pieces:
            return self._session.sendable(self.stream) > 0
        return self.ends or self.wants_room

    def append(self, most: int) -> None:
        """Append frames of at most so many bytes to the session's output."""
        session, stream, pieces = self._session, self.stream, self._pieces
        room = min(most, session.sendable(stream))
        appended = 0
        while pieces and appended < room:
            piece = pieces[0]
            if len(piece) > room - appended:
                view = memoryview(piece)
                piece, pieces[0] = view[: room - appended], view[room - appended :]
            else:
                pieces.popleft()
            is_last = self.ends and not pieces
            session.send_data(stream, piece, end=is_last)
            appended += len(piece)
            if is_last:
                self.ends = False
        if self.ends and not pieces:
            self.ends = False
            session.send_data(stream, b"", end=True)
        self.kept -= appended
        self.taken += appended
        self._buffers.remove(appended)
        self.wants_room = False
        if not pieces or self.kept < self.enough:
            self.wake()

    @property
    def is_empty(self) -> bool:
        """True if nothing waits."""
        return not self._pieces and not self.ends and not self.wants_room

    def drop(self) -> None:
        """Forget the pieces, and wake the sender."""
        self._pieces.clear()
        self._buffers.remove(self.kept)
        self.dropped += self.kept
        self.kept = 0
        self.ends = self.wants_room = False
        self.wake()

    def wake(self) -> None:
        """Let the sender look again, in a turn of its own."""
        if self.sender is not None:
            gevent.get_hub().loop.run_callback(self._wake)

    def _wake(self) -> None:
        """Switch to the sender, unless it has ceased to wait."""
        if self.sender is not None:
            self.sender.switch()
