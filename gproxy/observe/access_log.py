"""The access log: lines gather in memory and leave once per turn of the loop, in one write.

Nothing here may cost a request. A rotation runs in a thread and lines gather meanwhile; so do they while a pipe's
reader is slow. What cannot be written, or no longer be gathered, is dropped and counted; the error log says when that
begins and how it ended.
"""

import logging
import time
from collections.abc import Callable

import gevent

from gproxy.observe.access_line import FORMATS, Facts
from gproxy.observe.log_file import LogFile, Loss

LOG = logging.getLogger("gproxy.log")

_ROOM = 50_000  # lines that may gather, about a minute of 1,000 requests a second, and some 20 MiB
_LET_GO = 0.5  # seconds between two looks whether other workers have closed a rotated file
_PATIENCE = 10.0  # seconds that closing waits for a disk or a reader that hangs


class AccessLog:
    """Writes entries to the file at `path`; `-` is standard output, `off` nothing at all.

    `daily` rotates at local midnight, `size` (bytes) when a file has grown to that; `keep` rotated files stay,
    as `.gz` if `compress`.
    All workers may share one file. Raises ValueError for an unknown `format`. To be used from one thread.
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
            raise ValueError(f"unknown log format {format!r}; there are {', '.join(FORMATS)}")
        self.path = path
        self.lost = 0  # lines, since the start
        self._lost = 0  # lines, in the trouble that we are in
        self._format = FORMATS[format]
        self._file = LogFile(path, daily=daily, size=size, keep=keep, compress=compress, clock=clock)
        self._open = False
        self._scheduled = False
        self._entries: list[Facts] = []
        self._work: gevent.Greenlet | None = None
        self._compression: gevent.Greenlet | None = None
        self._troubles: set[str] = set()

    def __repr__(self) -> str:
        state = "working" if self._work else "open" if self._open else "closed"
        return f"<AccessLog {self.path} {state}, {len(self._entries)} waiting, {self.lost} lost>"

    def open(self) -> None:
        """Open the file, making its directories. Raises OSError with the path."""
        if self.path != "off":
            self._file.open()
            self._open = True

    def write(self, entry: Facts) -> None:
        """Have the line with these facts written at the end of this turn of the loop. Never waits, never fails."""
        if not self._open:
            return
        if not self._scheduled:
            self._scheduled = True
            gevent.get_hub().loop.run_callback(self._end_of_turn)
        if len(self._entries) >= _ROOM:
            self._lose(1, "they come faster than they can be written")
            return
        self._entries.append(entry)

    def flush(self) -> None:
        """Write what has gathered, now or as soon as no thread is busy with the file. Never waits."""
        if self._work or not self._entries:
            return
        if self._file.is_stale():
            self._report("reopening", self._file.reopen())
        if self._file.is_due():
            self._begin(self._rotate)
        elif self._file.blocks:
            self._begin(self._pour)
        else:
            self._settle(self._file.append(self._take()))
            if self._file.is_due():
                self._begin(self._rotate)

    def look(self) -> None:
        """Notice that the file was moved, though nothing is to be written."""
        if self._open and not self._work and self._file.is_stale():
            self._report("reopening", self._file.reopen())

    def reopen(self) -> None:
        """Write what has gathered and open the file by its name again: for USR1, after somebody has moved it."""
        self.flush()
        self._file.doubt()
        if self._open and not self._work:
            self._report("reopening", self._file.reopen())

    def join(self) -> None:
        """Wait until no thread is busy with the file."""
        while self._work:
            self._work.join()

    def close(self) -> None:
        """Write everything and close; waits for a rotation that is under way, but not forever."""
        if not self._open:
            return
        with gevent.Timeout(_PATIENCE, False):
            self._finish()
        self._open = False
        if self._entries:
            self._lose(len(self._entries), "closed before they could be written")
            self._take()
        if self._lost:
            LOG.error("access log %s: closed, %d lines were lost", self.path, self._lost)
        # A thread that hangs keeps its descriptor: the number could soon be a client's connection.
        if not self._work:
            self._file.close()

    def _end_of_turn(self) -> None:
        self._scheduled = False
        self.flush()

    def _finish(self) -> None:
        while self._entries or self._work:
            self.flush()
            self.join()

    def _take(self) -> bytes:
        entries, self._entries = self._entries, []
        lines = [self._format(entry) for entry in entries]  # PERF: one after the other costs less than one at a time
        lines.append("")
        return "\n".join(lines).encode("utf-8", "backslashreplace")

    def _begin(self, job: Callable[[], None]) -> None:
        # A greenlet, because the thread pool makes its caller wait when all threads are busy, and the hub cannot wait.
        self._work = gevent.spawn(self._run, job)

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        finally:
            self._work = None
            self.flush()

    def _rotate(self) -> None:
        self._report("rotation", gevent.get_hub().threadpool.apply(self._file.rotate))
        if not self._compression:
            self._compression = gevent.spawn(self._compress)

    def _compress(self) -> None:
        """Beside writing, and only once every worker has let go of the old file."""
        while not (done := gevent.get_hub().threadpool.apply(self._file.compress)):
            gevent.sleep(_LET_GO)
        self._compression = None
        self._report("compression", done if isinstance(done, OSError) else None)

    def _pour(self) -> None:
        self._settle(gevent.get_hub().threadpool.apply(self._file.append, (self._take(),)))

    def _settle(self, loss: Loss | None) -> None:
        if loss:
            self._lose(loss.lines, loss.error)
        elif self._lost:
            LOG.error("access log %s: writing again, %d lines were lost", self.path, self._lost)
            self._lost = 0

    def _lose(self, lines: int, why: object) -> None:
        if not self._lost:
            LOG.error("access log %s: losing lines: %s", self.path, why)
        self._lost += lines
        self.lost += lines

    def _report(self, what: str, error: OSError | None) -> None:
        if error is None:
            self._troubles.discard(what)
        elif what not in self._troubles:
            self._troubles.add(what)
            LOG.error("access log %s: %s failed: %s", self.path, what, error)
