"""The messages between the arbiter and a worker: one line of JSON each, with file descriptors beside it.

arbiter to worker   build, open, accept, share, unshare, unready, retire, stop, quit, reopen
worker to arbiter   built, failed, ready, shared, beat, closed, stopped
"""

import json
import socket
from collections.abc import Sequence
from typing import Any, Final

_MOST_FDS: Final = 250  # the kernel passes at most 253 at a time

Message = list[Any]


class Control:
    """An end of the socket pair between the arbiter and a worker."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        #: Received descriptors, in order, that `take_fds` has not returned yet.
        self.fds: list[int] = []
        #: Lines that are no message: the stacks that faulthandler writes for a hung worker.
        self.stray: list[str] = []
        self.ended = False
        self._buffer = b""

    def send(self, name: str, *arguments: object, fds: Sequence[int] = ()) -> None:
        """Send a message; ignore an error, since then the other process has ended."""
        line = json.dumps([name, *arguments]).encode() + b"\n"
        try:
            socket.send_fds(self.socket, [line], fds) if fds else self.socket.send(line)
        except OSError:
            pass

    def receive(self) -> list[Message]:
        """Return the messages received so far, perhaps none; set `ended` if the other end is closed."""
        try:
            data, fds, _, _ = socket.recv_fds(self.socket, 65536, _MOST_FDS, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return []
        except OSError:
            data, fds = b"", []
        self.ended = not data
        self.fds += fds
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [message for message in map(self._parse, lines) if message]

    def _parse(self, line: bytes) -> Message | None:
        if line.startswith(b"["):
            message: Message = json.loads(line)
            return message
        self.stray.append(line.decode(errors="replace"))
        return None

    def take_fds(self) -> list[int]:
        """Return the descriptors that came with the last message, and forget them."""
        fds, self.fds = self.fds, []
        return fds

    def close(self) -> None:
        self.socket.close()
