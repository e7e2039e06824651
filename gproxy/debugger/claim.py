"""The worker's end of a stream to a terminal: it asks for a request to be taken, and then becomes the terminal.

The monitor opens a stream to each worker. The first one that asks gets the terminal; the others end. So a rule takes
one request over all workers.
"""

import json
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import gevent
from gevent.event import AsyncResult

from gproxy.debugger.terminal import Terminal

#: Seconds that the monitor has to answer.
_PATIENCE: Final = 1.0
#: What the monitor sends the stream that gets the terminal.
GRANTED: Final = b"y"
#: What the monitor gets last: a worker that dies does not send it. No text in UTF-8 has this byte.
ENDED: Final = b"\xff"


class Claim:
    """A stream on which nothing has been asked yet. `closed` is called if its other end closes before that."""

    def __init__(self, sock: socket.socket, closed: Callable[[], object]) -> None:
        self._socket = sock
        self._closed = closed
        self._answer = AsyncResult()
        self._listening = gevent.spawn(self._listen)

    def _listen(self) -> None:
        data = b""
        with suppress(OSError):
            data = self._socket.recv(1)
        self._answer.set(data == GRANTED)
        if data != GRANTED:
            self._socket.close()
            self._closed()

    @property
    def is_closed(self) -> bool:
        """True once the other end has closed, or has refused."""
        return self._answer.ready() and not self._answer.get()

    def ask(self, what: Mapping[str, object]) -> bool:
        """Ask for the terminal, for this request; end the stream and return False if there is none.

        There is none if another worker has it, or the other end has closed, or does not answer.
        """
        has_terminal = False
        try:
            with suppress(OSError):
                self._socket.sendall(json.dumps(what).encode() + b"\n")
            has_terminal = bool(self._answer.wait(_PATIENCE))
        finally:  # the request may be cut meanwhile
            if not has_terminal:
                self.close()
        return has_terminal

    def terminal(self) -> Terminal:
        """Return the terminal, once the stream has it."""
        return Terminal(self._socket.detach(), ENDED)

    def close(self) -> None:
        """End the stream."""
        self._listening.kill(block=False)
        self._socket.close()
