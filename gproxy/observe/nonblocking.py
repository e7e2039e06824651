"""Non-blocking log lines to standard error: a slow reader of a pipe or socket never blocks a process.

A line whose write would block is dropped; the next line that is written reports the number of dropped ones.
"""

import _socket
import logging
import os
import signal
import stat
from collections.abc import Callable
from typing import BinaryIO, Final, TextIO

from gproxy.config.types.units import plural

#: How often, and for how many seconds each, to wait for a pipe whose reader was active before.
_TURNS: Final = 10
_TURN: Final = 0.002

#: Writes as many bytes as possible without blocking and returns their number. Raises BlockingIOError if none.
_Write = Callable[[bytes], int]


class NonBlockingHandler(logging.StreamHandler[TextIO]):
    """A stream handler of `logging` that does not block.

    It waits a moment for a slow reader, and not again until that reader has read something.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._own, self._write = _non_blocking(stream)
        self._rest = b""  # of a line that was written in part
        self._lost = 0
        self._turns = _TURNS

    def emit(self, record: logging.LogRecord) -> None:
        if self._write is None:
            super().emit(record)
            return
        try:
            self._write_record(self._write, record)
        except Exception:  # noqa: BLE001 as in logging.StreamHandler
            self.handleError(record)

    def _write_record(self, write: _Write, record: logging.LogRecord) -> None:
        text = f"{self.format(record)}\n"
        if self._lost:
            message = f"the reader of this log was too slow, {plural(self._lost, 'line')} lost"
            fields = {"name": "gproxy.log", "levelname": "ERROR", "msg": message, "process": record.process}
            loss = logging.makeLogRecord(fields)
            text = f"{self.format(loss)}\n{text}"
        data = text.encode("utf-8", "backslashreplace")
        self._rest = self._write_some(write, self._rest)
        left = data if self._rest else self._write_some(write, data)
        if left == data:
            self._lost += 1
        else:
            self._rest, self._lost = left, 0

    def _write_some(self, write: _Write, data: bytes) -> bytes:
        """Write the data and return the unwritten rest. A wait blocks the whole process, so it is short."""
        while data:
            try:
                data = data[write(data) :]
                self._turns = _TURNS
            except BlockingIOError:
                if not self._turns:
                    break
                self._turns -= 1
                signal.sigtimedwait((), _TURN)  # sleeps without yielding to the hub, unlike the patched time.sleep
        return data

    def close(self) -> None:
        if self._own is not None:
            self._own.close()
        self._own = self._write = None
        super().close()


def _non_blocking(stream: TextIO) -> tuple[BinaryIO | _socket.socket | None, _Write | None]:
    """Return an object to close and a function that writes without blocking; None for files and terminals.

    Other processes share the pipe and expect blocking writes. So it is opened again through /proc instead of changed.
    """
    try:
        number = stream.fileno()
        mode = os.fstat(number).st_mode
        if stat.S_ISFIFO(mode):
            own = open(f"/proc/self/fd/{number}", "wb", buffering=0, opener=_opener)  # noqa: SIM115
            return own, lambda data: os.write(own.fileno(), data)
        if stat.S_ISSOCK(mode):
            sock = _socket.socket(fileno=os.dup(number))  # gevent's socket would wait
            return sock, lambda data: sock.send(data, _socket.MSG_DONTWAIT)
    except (OSError, ValueError):
        pass
    return None, None


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags & ~(os.O_CREAT | os.O_TRUNC) | os.O_NONBLOCK)
