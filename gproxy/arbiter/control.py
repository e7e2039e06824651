"""The socket between the arbiter and a worker, for messages and the file descriptors beside them."""

import os
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, TypeVar

from gproxy.arbiter.messages import Kinds, Message, decode, encode

_MOST_FDS: Final = 250  # the kernel passes at most 253 at a time


_Expected = TypeVar("_Expected", bound=Message)


class GoneError(Exception):
    """The end of the other process before it has sent what is expected."""


class UnexpectedCommandError(Exception):
    """A command that the state of its receiver does not allow, or a malformed one."""


class Control:
    """An end of the socket pair between the arbiter and a worker; it receives messages of the given kinds."""

    def __init__(self, sock: socket.socket, kinds: Kinds) -> None:
        self.socket = sock
        self._kinds = kinds
        #: Received descriptors, in order, that `take_fds` has not returned yet.
        self.fds: list[int] = []
        #: Lines that are no message: the stacks that faulthandler writes for a hung worker.
        self.stray: list[str] = []
        self.ended = False
        #: Held while a line is sent, which may take several calls.
        self._sending = threading.Lock()
        self._buffer = b""
        #: Received messages that `wait` has not returned yet.
        self._waiting: list[Message] = []

    def send(self, message: Message, fds: Sequence[int] = ()) -> bool:
        """Send a message; return False if the other process has ended.

        A socket that blocks waits until the whole line is sent; one that does not returns False if it is full.
        """
        line = encode(message)
        try:
            with self._sending:
                sent = socket.send_fds(self.socket, [line], fds) if fds else self.socket.send(line)
                if sent < len(line) and self.socket.gettimeout() != 0:  # the first call of gevent sends what fits
                    self.socket.sendall(line[sent:])
                    return True
        except OSError:
            return False
        return sent == len(line)

    def send_from_thread(self, message: Message) -> None:
        """Send a message without gevent's socket, which belongs to the main thread; drop it if that would block."""
        with suppress(OSError):
            os.write(self.socket.fileno(), encode(message))

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
        self.stray += [line.decode(errors="replace") for line in lines if not line.startswith(b"[")]
        return [decode(line, self._kinds) for line in lines if line.startswith(b"[")]

    def wait(self) -> Message | None:
        """Wait for the next message and return it; None once the other end is closed."""
        while not self._waiting and not self.ended:
            self._waiting = self.receive()
        return self._waiting.pop(0) if self._waiting else None

    def wait_for(self, kind: type[_Expected]) -> _Expected:
        """Wait for the next command, which must be of this kind, and return it. Raises GoneError."""
        command = self.wait()
        if command is None:
            raise GoneError
        if not isinstance(command, kind):
            raise UnexpectedCommandError(f"unexpected {command}")
        return command

    def take_fds(self, count: int | None = None) -> list[int]:
        """Return the next `count` descriptors, which came with the oldest messages, and forget them; None: all."""
        fds, self.fds = self.fds[:count], self.fds[len(self.fds) if count is None else count :]
        return fds

    def close(self) -> None:
        """Close the socket, and the descriptors that nothing has taken."""
        for fd in self.take_fds():
            os.close(fd)
        self.socket.close()
