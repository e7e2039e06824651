"""The access log in a file: one write per turn of the loop, and rotation in a thread."""

import time
from collections.abc import Callable

import gevent

from gproxy.observe.buffered_log import BufferedLog, Format
from gproxy.observe.log_file import LogFile, Loss

_COMPRESS_RETRY = 0.5  # seconds between two checks whether other workers have closed a rotated file
_CLOSE_TIMEOUT = 10.0  # seconds that closing waits for a disk or reader that hangs


class AccessLog(BufferedLog):
    """The access log at `path`; `-` is standard output. `line` returns the line of an exchange.

    `daily` rotates at local midnight, `size` (bytes) when a file reaches that size; `keep` rotated files stay, as `.gz`
    if `compress`. All workers may share one file.
    """

    def __init__(
        self,
        path: str,
        *,
        line: Format,
        daily: bool,
        size: int | None,
        keep: int,
        compress: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(path, line, _CLOSE_TIMEOUT)
        self._file = LogFile(path, daily=daily, size=size, keep=keep, compress=compress, clock=clock)
        self._compression: gevent.Greenlet | None = None

    def open(self) -> None:
        """Open the file, and create its directories. Raises OSError with the path."""
        self._file.open()
        self._open = True

    def flush(self) -> None:
        """Write the buffered lines, now or once no thread uses the file. Never waits."""
        if self._job or not self._exchanges:
            return
        if self._file.is_stale():
            self._report("reopening", self._file.reopen())
        if self._file.is_due():
            self._start(self._rotate)
        elif self._file.blocks:
            self._start(self._append)
        else:
            self._settle(self._file.append(self._take_lines()))
            if self._file.is_due():
                self._start(self._rotate)

    def look(self) -> None:
        """Reopen the file if it was moved, even if there is nothing to write."""
        if self._open and not self._job and self._file.is_stale():
            self._report("reopening", self._file.reopen())

    def reopen(self) -> None:
        """Write the buffered lines and open the file by name again, for SIGUSR1 after the file was moved."""
        self.flush()
        self._file.doubt()
        if self._open and not self._job:
            self._report("reopening", self._file.reopen())

    def _release(self) -> None:
        # A thread that hangs keeps the descriptor open: its number could be reused for a client's connection.
        if not self._job:
            self._file.close()

    def _take_lines(self) -> bytes:
        exchanges, self._exchanges = self._exchanges, []
        # PERF: formatting in a batch costs less than line by line
        lines = [self._line(exchange) for exchange in exchanges]
        lines.append("")
        return "\n".join(lines).encode("utf-8", "backslashreplace")

    def _rotate(self) -> None:
        self._report("rotation", gevent.get_hub().threadpool.apply(self._file.rotate))
        if not self._compression:
            self._compression = gevent.spawn(self._compress)

    def _compress(self) -> None:
        """Compress rotated files in a thread, each once every worker has closed it."""
        while not (done := gevent.get_hub().threadpool.apply(self._file.compress)):
            gevent.sleep(_COMPRESS_RETRY)
        self._compression = None
        self._report("compression", done if isinstance(done, OSError) else None)

    def _append(self) -> None:
        self._settle(gevent.get_hub().threadpool.apply(self._file.append, (self._take_lines(),)))

    def _settle(self, loss: Loss | None) -> None:
        if loss:
            self._lose(loss.lines, loss.error)
        else:
            self._recover()
