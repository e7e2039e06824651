"""The access log: lines are buffered and written once per turn of the loop, in one write.

The log never delays a request. While a rotation runs in a thread, or a pipe's reader is slow, lines stay in the buffer.
Lines that cannot be written or buffered are dropped and counted; the error log reports when this begins and ends.
"""

import logging
import time
from collections.abc import Callable

import gevent

from gproxy.config.sections.settings import LogSettings
from gproxy.config.types.units import plural
from gproxy.http.exchange import Exchange
from gproxy.observe.access_line import FORMATS
from gproxy.observe.log_file import LogFile, Loss

LOG = logging.getLogger("gproxy.log")

_MAX_BUFFERED = 50_000  # lines: about a minute of 1,000 requests a second, and some 20 MiB
_COMPRESS_RETRY = 0.5  # seconds between two checks whether other workers have closed a rotated file
_CLOSE_TIMEOUT = 10.0  # seconds that closing waits for a disk or reader that hangs


class AccessLog:
    """The access log at `path`; `-` is standard output, `off` disables the log.

    `daily` rotates at local midnight, `size` (bytes) when a file reaches that size; `keep` rotated files stay,
    as `.gz` if `compress`.
    All workers may share one file. Raises ValueError for an unknown `format`. Use it from one thread only.
    """

    def __init__(
        self,
        path: str,
        *,
        format: str,  # noqa: A002 (the option's name)
        daily: bool,
        size: int | None,
        keep: int,
        compress: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if format not in FORMATS:
            raise ValueError(f"unknown log format {format!r}; expected one of {', '.join(FORMATS)}")
        self.path = path
        self.lost = 0  # lines, since the start
        self._lost = 0  # lines, since writing began to fail; 0 while it works
        self._format = FORMATS[format]
        self._file = LogFile(path, daily=daily, size=size, keep=keep, compress=compress, clock=clock)
        self._open = False
        self._scheduled = False
        self._exchanges: list[Exchange] = []
        self._job: gevent.Greenlet | None = None
        self._compression: gevent.Greenlet | None = None
        self._failing: set[str] = set()

    @classmethod
    def of(cls, settings: LogSettings) -> "AccessLog":
        """Return the access log of these settings."""
        return cls(
            settings.access,
            format=settings.format,
            daily=settings.rotate.daily,
            size=settings.rotate.size,
            keep=settings.keep,
            compress=settings.compress,
        )

    @property
    def is_off(self) -> bool:
        """True if the settings disable the log: it needs no exchanges."""
        return self.path == "off"

    def __repr__(self) -> str:
        state = "working" if self._job else "open" if self._open else "closed"
        return f"<AccessLog {self.path} {state}, {len(self._exchanges)} waiting, {self.lost} lost>"

    def open(self) -> None:
        """Open the file, and create its directories. Raises OSError with the path."""
        if not self.is_off:
            self._file.open()
            self._open = True

    def record(self, exchange: Exchange) -> None:
        """Buffer an exchange; its line is written at the end of this turn of the loop. Never waits, never fails."""
        if not self._open:
            return
        if not self._scheduled:
            self._scheduled = True
            gevent.get_hub().loop.run_callback(self._end_of_turn)
        if len(self._exchanges) >= _MAX_BUFFERED:
            self._lose(1, "buffer full, lines come faster than they can be written")
            return
        self._exchanges.append(exchange)

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

    def join(self) -> None:
        """Wait until no thread uses the file."""
        while self._job:
            self._job.join()

    def close(self) -> None:
        """Write all lines and close; wait for a running rotation, for a bounded time."""
        if not self._open:
            return
        with gevent.Timeout(_CLOSE_TIMEOUT, False):
            self._finish()
        self._open = False
        if self._exchanges:
            self._lose(len(self._exchanges), "closed before they could be written")
            self._take_lines()
        if self._lost:
            LOG.error("access log %s: closed, %s lost", self.path, plural(self._lost, "line"))
        # A thread that hangs keeps the descriptor open: its number could be reused for a client's connection.
        if not self._job:
            self._file.close()

    def _end_of_turn(self) -> None:
        self._scheduled = False
        self.flush()

    def _finish(self) -> None:
        while self._exchanges or self._job:
            self.flush()
            self.join()

    def _take_lines(self) -> bytes:
        exchanges, self._exchanges = self._exchanges, []
        lines = [
            self._format(exchange) for exchange in exchanges
        ]  # PERF: formatting in a batch costs less than line by line
        lines.append("")
        return "\n".join(lines).encode("utf-8", "backslashreplace")

    def _start(self, job: Callable[[], None]) -> None:
        # A greenlet, since the thread pool blocks its caller while all threads are busy, and the hub cannot wait.
        self._job = gevent.spawn(self._run, job)

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        finally:
            self._job = None
            self.flush()

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
        elif self._lost:
            LOG.error("access log %s: writing again, %s lost", self.path, plural(self._lost, "line"))
            self._lost = 0

    def _lose(self, lines: int, why: object) -> None:
        if not self._lost:
            LOG.error("access log %s: losing lines: %s", self.path, why)
        self._lost += lines
        self.lost += lines

    def _report(self, what: str, error: OSError | None) -> None:
        if error is None:
            self._failing.discard(what)
        elif what not in self._failing:
            self._failing.add(what)
            LOG.error("access log %s: %s failed: %s", self.path, what, error)
