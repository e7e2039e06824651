"""A channel that keeps bytes for a slow peer while its user does something else, such as reading from a backend.

Nothing is kept for a peer that takes each piece at once: then a send is one call, as on every channel. What the kernel
does not take waits here, and the event loop sends it as soon as there is room.
"""

import socket
from collections import deque
from typing import Any, Final

from gproxy.http.buffers import NO_BUFFERS, Buffers
from gproxy.runtime.channel import Channel

#: Pieces below this size are joined before they are sent: copying costs less than a send for each.
_SMALL: Final = 16 * 1024


class BufferedChannel(Channel):
    """A channel whose `send_ahead` may return before the kernel has taken all bytes; `flush` waits for them.

    `send` must not be called between the two.
    """

    __slots__ = ("_dropped", "_kept", "_pending", "_send_error", "_write_watcher", "buffers", "send_ahead_limit")

    def __init__(self, sock: socket.socket, buffers: Buffers = NO_BUFFERS) -> None:
        super().__init__(sock)
        #: The bytes that the process keeps for all slow clients.
        self.buffers = buffers
        #: `send_ahead` waits once so many bytes are kept; with 0 it keeps none.
        self.send_ahead_limit = 0
        self._pending: deque[bytes | memoryview] = deque()
        #: The size of the pending pieces.
        self._kept = 0
        #: The size of pieces that were forgotten.
        self._dropped = 0
        self._write_watcher: Any = None
        #: The error that the event loop got when it sent.
        self._send_error: OSError | None = None

    def send_ahead(self, data: bytes) -> None:
        """Send the data, or keep what the kernel does not take now. Wait if too much is kept. Raises as `send`."""
        if self._pending:
            self._keep(data)
            return
        sent = self.send_now(data)
        if sent != len(data):
            self._keep_or_send(memoryview(data)[sent:])

    def send_both_ahead(self, head: bytes, body: bytes) -> None:
        """Do the same for a head and the long beginning of its body, in one call and without a copy."""
        if self._pending:
            self._keep(head + body)
            return
        rest = self._send_pair(head, body)
        if rest:
            self._keep_or_send(rest)

    def _keep_or_send(self, rest: memoryview) -> None:
        if self.send_ahead_limit and self.buffers.has_room:
            self._keep(rest)
        else:
            self._send_rest(rest)

    def _keep(self, data: bytes | memoryview) -> None:
        error = self._send_error
        if error is not None:
            raise self._reset(error)
        self._pending.append(data)
        self._kept += len(data)
        self.buffers.add(len(data))
        if self._kept >= self.send_ahead_limit or not self.buffers.has_room:
            self._send_kept(self.send_ahead_limit - 1)
        if self._pending and self._write_watcher is None:
            self._write_watcher = self.write_watcher()
            self._write_watcher.start(self._on_writable)

    def _on_writable(self) -> None:
        """Send pending pieces until the kernel is full; the event loop calls this."""
        pending = self._pending
        try:
            while pending:
                if len(pending[0]) < _SMALL and len(pending) > 1:
                    joined = b"".join(pending)
                    pending.clear()
                    pending.append(joined)
                data = pending[0]
                sent = self._send(data)
                self._count_out(sent)
                if sent < len(data):
                    pending[0] = memoryview(data)[sent:]
                    return
                pending.popleft()
        except BlockingIOError:
            return
        except OSError as error:
            self._send_error = error
        self._stop_sending()

    def flush(self) -> None:
        """Wait until the kernel has taken all bytes kept. Forget them if that fails. Raises as `send`."""
        if self._pending:
            self._send_kept(0)

    def _send_kept(self, most: int) -> None:
        """Wait until at most so many bytes are kept, and none beyond the bound of the process."""
        self._stop_sending()
        pending = self._pending
        try:
            while pending and (self._kept > most or not self.buffers.has_room):
                self.send(pending[0])
                self._count_out(len(pending.popleft()))
        except BaseException:
            self._forget()  # a part of the first piece may have been sent
            raise

    def _count_out(self, size: int) -> None:
        self._kept -= size
        self.buffers.remove(size)

    def _stop_sending(self) -> None:
        watcher, self._write_watcher = self._write_watcher, None
        if watcher is not None:
            watcher.stop()
            watcher.close()

    def drop(self) -> int:
        """Forget the bytes kept. Return the number of these, and of those that a failed `flush` has forgotten."""
        self._stop_sending()
        self._forget()
        return self._dropped

    def _forget(self) -> None:
        self._pending.clear()
        self._dropped += self._kept
        self._count_out(self._kept)

    def close(self) -> None:
        self.drop()
        super().close()
