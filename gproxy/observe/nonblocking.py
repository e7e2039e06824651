"""Lines to standard error, where a pipe or a socket that nobody reads makes nobody wait.

A write that would wait is not made: the line is lost, and the next one that gets through says how many were.
"""

import _socket
import logging
import os
import signal
import stat
from collections.abc import Callable
from typing import Any, Final

#: How often, and how many seconds each time, a pipe that was read so far is waited for.
_TURNS: Final = 10
_TURN: Final = 0.002

#: Takes as many of the bytes as it can at once, and says how many; BlockingIOError if none.
_Write = Callable[[bytes], int]


class NonBlockingHandler(logging.StreamHandler[Any]):
    """A handler of `logging` that does not wait.

    A reader who is merely slow is waited for, but only a moment, and not again before it has read something.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._own, self._write = _at_once(stream)
        self._rest = b""  # of a line that was written in part
        self._lost = 0
        self._turns = _TURNS

    def emit(self, record: logging.LogRecord) -> None:
        if self._write is None:
            super().emit(record)
            return
        try:
            self._pour(self._write, record)
        except Exception:
            self.handleError(record)

    def _pour(self, write: _Write, record: logging.LogRecord) -> None:
        text = f"{self.format(record)}\n"
        if self._lost:
            what = f"nobody has read this for a while, {self._lost} lines were lost"
            facts = {"name": "gproxy.log", "levelname": "ERROR", "msg": what, "process": record.process}
            loss = logging.makeLogRecord(facts)
            text = f"{self.format(loss)}\n{text}"
        data = text.encode("utf-8", "backslashreplace")
        self._rest = self._sent(write, self._rest)
        left = data if self._rest else self._sent(write, data)
        if left == data:
            self._lost += 1
        else:
            self._rest, self._lost = left, 0

    def _sent(self, write: _Write, data: bytes) -> bytes:
        """What is left of it. Blocks the whole process while it waits, so that is never for long."""
        while data:
            try:
                data = data[write(data) :]
                self._turns = _TURNS
            except BlockingIOError:
                if not self._turns:
                    break
                self._turns -= 1
                signal.sigtimedwait((), _TURN)  # a sleep that gevent does not turn into one of this greenlet only
        return data

    def close(self) -> None:
        if self._own is not None:
            self._own.close()
        self._own = self._write = None
        super().close()


def _at_once(stream: Any) -> tuple[Any, _Write | None]:
    """What it takes to write to this stream without waiting, and what it holds; None for files and terminals.

    Others have the same pipe and mean to wait for it, so it is not changed but opened once more, as Linux can.
    """
    try:
        number = stream.fileno()
        mode = os.fstat(number).st_mode
        if stat.S_ISFIFO(mode):
            own = open(f"/proc/self/fd/{number}", "wb", buffering=0, opener=_opener)  # noqa: SIM115
            return own, lambda data: os.write(own.fileno(), data)
        if stat.S_ISSOCK(mode):
            sock = _socket.socket(fileno=os.dup(number))  # the plain one: gevent's would wait
            return sock, lambda data: sock.send(data, _socket.MSG_DONTWAIT)
    except (OSError, ValueError):
        pass
    return None, None


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags & ~(os.O_CREAT | os.O_TRUNC) | os.O_NONBLOCK)
