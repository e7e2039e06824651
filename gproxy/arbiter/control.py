"""What the arbiter and a worker say to each other: a line of JSON each, descriptors beside it.

arbiter to worker   build, open, accept, share, unshare, unready, retire, stop, quit, reopen
worker to arbiter   built, failed, ready, shared, beat, closed, stopped
"""

import json
import socket
from collections.abc import Sequence
from typing import Any, Final

_MOST_FDS: Final = 250  # the kernel passes on 253 at a time

Message = list[Any]


class Control:
    """One end of the socket pair between the arbiter and a worker."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        #: Descriptors that came, in order, and were not yet taken.
        self.fds: list[int] = []
        #: Lines that are no message: what faulthandler writes when it is asked where a worker hangs.
        self.stray: list[str] = []
        self.ended = False
        self._buffer = b""

    def send(self, name: str, *arguments: object, fds: Sequence[int] = ()) -> None:
        """If the other side has ended, nobody needs the message."""
        line = json.dumps([name, *arguments]).encode() + b"\n"
        try:
            socket.send_fds(self.socket, [line], fds) if fds else self.socket.send(line)
        except OSError:
            pass

    def receive(self) -> list[Message]:
        """What has come by now, perhaps nothing yet; `ended` tells that no more will."""
        try:
            data, fds, _, _ = socket.recv_fds(self.socket, 65536, _MOST_FDS, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return []
        except OSError:
            data, fds = b"", []
        self.ended = not data
        self.fds += fds
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [message for message in map(self._understand, lines) if message]

    def _understand(self, line: bytes) -> Message | None:
        if line.startswith(b"["):
            message: Message = json.loads(line)
            return message
        self.stray.append(line.decode(errors="replace"))
        return None

    def take_fds(self) -> list[int]:
        """Those that came with the message just received."""
        fds, self.fds = self.fds, []
        return fds

    def close(self) -> None:
        self.socket.close()
