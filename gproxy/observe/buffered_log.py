"""A log of exchanges to one target: exchanges are buffered, and written once per turn of the loop.

The log never delays a request. While its target is slow or away, exchanges stay in the buffer. Lines that cannot be
written or buffered are dropped and counted; the error log reports when this begins and ends.
"""

import logging
from collections.abc import Callable
from typing import Final

import gevent

from gproxy.config.types.units import plural
from gproxy.http.exchange import Exchange

LOG: Final = logging.getLogger("gproxy.log")

#: Returns the line of an exchange, without its end.
Format = Callable[[Exchange], str]

_MAX_BUFFERED = 50_000  # lines: about a minute of 1,000 requests a second, and some 20 MiB


class BufferedLog:
    """The base of the access logs, which differ in how `flush` writes. `name` is the target, for messages.

    Use it from one thread only.
    """

    def __init__(self, name: str, line: Format, close_timeout: float) -> None:
        self.name = name
        self.lost = 0  # lines, since the start
        self._lost = 0  # lines, since writing began to fail; 0 while it works
        self._line = line
        self._close_timeout = close_timeout
        self._open = False
        self._scheduled = False
        self._exchanges: list[Exchange] = []
        self._job: gevent.Greenlet | None = None
        self._failing: set[str] = set()

    def __repr__(self) -> str:
        state = "working" if self._job else "open" if self._open else "closed"
        return f"<{type(self).__name__} {self.name} {state}, {len(self._exchanges)} waiting, {self.lost} lost>"

    def open(self) -> None:
        """Begin to record. Raises OSError if the target cannot be opened."""
        raise NotImplementedError

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
        """Write the buffered lines, now or once no job runs. Never waits."""
        raise NotImplementedError

    def look(self) -> None:
        """Look after the target, even if there is nothing to write; to be called once a second."""

    def reopen(self) -> None:
        """Write the buffered lines and open the target again, for SIGUSR1."""
        raise NotImplementedError

    def join(self) -> None:
        """Wait until no job runs."""
        while self._job:
            self._job.join()

    def close(self) -> None:
        """Write all lines and close; wait for a running job, for a bounded time."""
        if not self._open:
            return
        with gevent.Timeout(self._close_timeout, False):
            self._finish()
        self._open = False
        if waiting := self._drop():
            self._lose(waiting, "closed before they could be written")
        if self._lost:
            LOG.error("access log %s: closed, %s lost", self.name, plural(self._lost, "line"))
        self._release()

    def _finish(self) -> None:
        while self._exchanges or self._job:
            self.flush()
            self.join()

    def _drop(self) -> int:
        """Drop the lines that wait, and return their number."""
        waiting, self._exchanges = len(self._exchanges), []
        return waiting

    def _release(self) -> None:
        """Close the target."""
        raise NotImplementedError

    def _end_of_turn(self) -> None:
        self._scheduled = False
        self.flush()

    def _start(self, job: Callable[[], None]) -> None:
        # A greenlet, since the thread pool blocks its caller while all threads are busy, and the hub cannot wait.
        self._job = gevent.spawn(self._run, job)

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        finally:
            self._job = None
            self.flush()

    def _lose(self, lines: int, why: object) -> None:
        if not self._lost:
            LOG.error("access log %s: losing lines: %s", self.name, why)
        self._lost += lines
        self.lost += lines

    def _recover(self) -> None:
        """Report that lines are written again, if any was lost."""
        if self._lost:
            LOG.error("access log %s: writing again, %s lost", self.name, plural(self._lost, "line"))
            self._lost = 0

    def _report(self, what: str, error: OSError | None) -> None:
        """Log an error of this kind once, until the same succeeds."""
        if error is None:
            self._failing.discard(what)
        elif what not in self._failing:
            self._failing.add(what)
            LOG.error("access log %s: %s failed: %s", self.name, what, error)
