"""The watchdog of the event loop (gevent's hub): finds what blocks it, with request, handler and line.

A timer of the loop writes a beat; a native thread looks at it. While the loop is blocked, the thread notes the frames
of the main thread. It never logs: the main thread may hold the lock of a log. The loop logs the report once it turns.
If it does not turn within a second, the arbiter logs the report.
"""

import logging
import os
import sys
import time
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import Any, Final, NamedTuple

import gevent
from gevent.monkey import get_original

from gproxy.introspection.block_report import BlockReport, ReportThrottle, place_of, stack_of
from gproxy.introspection.current_request import CurrentRequest
from gproxy.introspection.handler_code import HandlerCode
from gproxy.observe.log import log_with_stack
from gproxy.observe.metrics import Series
from gproxy.runtime import Runtime

_log = logging.getLogger("gproxy")

_get_ident, _start_new_thread, _allocate_lock = get_original(
    "_thread", ["get_ident", "start_new_thread", "allocate_lock"]
)
_HUB: Final = gevent.hub.Hub.run.__code__
#: Seconds after which the arbiter logs a block that lasts.
_ANNOUNCE_AFTER: Final = 1.0


class Spent(NamedTuple):
    """Seconds of the main thread: computing, and waiting for a core; and of the watchdog's thread: waiting for one."""

    computing: float
    queued: float
    own_queued: float

    def since(self, before: "Spent") -> "Spent":
        """Return what was spent since then."""
        return Spent(*(now - then for now, then in zip(self, before, strict=True)))


class ThreadClock:
    """The clock of what the main thread, and the thread that makes the clock, spend."""

    def __init__(self, main: int) -> None:
        self._clock = time.pthread_getcpuclockid(main)
        self._files = [_open(f"self/task/{os.getpid()}"), _open("thread-self")]

    def read(self) -> Spent:
        """Return what was spent since the start of the threads."""
        return Spent(time.clock_gettime(self._clock), *map(_read_queued, self._files))

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            if file >= 0:
                os.close(file)


def _open(thread: str) -> int:
    try:
        return os.open(f"/proc/{thread}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # the kernel does not count it
        return -1


def _read_queued(file: int) -> float:
    return int(os.pread(file, 100, 0).split()[1]) / 1e9 if file >= 0 else 0.0


class HubWatchdog:
    """The watchdog of the loop of the thread that makes it; `limit` is in seconds.

    `announce` gets a report whose block lasts, in the watchdog's thread: it must neither log nor use the loop.
    """

    def __init__(
        self,
        limit: float,
        runtime: Runtime,
        current: CurrentRequest,
        code: HandlerCode,
        announce: Callable[[BlockReport], None],
    ) -> None:
        self._limit = limit
        self._every = limit / 2
        self._runtime = runtime
        self._current = current
        self._code = code
        self._announce = announce
        self._main = _get_ident()
        self._timer: Any = None
        self._stopped = _allocate_lock()
        #: Monotonic time of the loop's last beat, which the loop alone writes.
        self._beat = 0.0
        #: The beat before the last long delay, and its seconds.
        self._ended = 0.0, 0.0
        #: The beat whose delay the thread has judged already.
        self._judged = 0.0
        #: Left by the thread for the loop.
        self._report: BlockReport | None = None
        #: Used in the thread alone.
        self._throttle = ReportThrottle()
        self._lag: Series | None = None

    def start(self) -> None:
        """Start the timer and the thread."""
        metrics = self._runtime.metrics
        self._lag = metrics.series("gproxy_hub_lag_seconds") if metrics.wanted else None
        self._beat = monotonic()
        self._timer = gevent.get_hub().loop.timer(self._every, self._every, ref=False)
        self._timer.start(self._on_beat)
        self._stopped.acquire()
        _start_new_thread(self._watch, ())

    def stop(self) -> None:
        """Stop both."""
        self._timer.close()
        self._stopped.release()

    # In the loop.

    def _on_beat(self) -> None:
        now = monotonic()
        before, self._beat = self._beat, now
        late = max(0.0, now - before - self._every)
        if self._lag is not None:
            self._lag.observe(late)
        if late >= self._limit:
            self._ended = before, late
        if self._report is not None:
            report, self._report = self._report, None
            beat, seconds = self._ended
            if report.beat == beat:
                report.seconds = seconds
            gevent.spawn(self._record, report)

    def _record(self, report: BlockReport) -> None:
        """Count a block that is over, and log it. In a greenlet: the lock of a log may be taken."""
        runtime = self._runtime
        if runtime.metrics.wanted:
            labels = report.origin.handler, report.origin.route
            runtime.metrics.series("gproxy_hub_blocked_total", *labels).cells[0] += 1
            runtime.metrics.series("gproxy_hub_blocked_seconds_total", *labels).cells[0] += report.seconds
        if runtime.feed is not None:
            runtime.feed.put("block", report.fields())
        if not report.is_logged:
            return
        if report.is_announced:
            text = f"{report.origin.request_id} worker {runtime.worker} runs again after {report.seconds:.1f} s"
            _log.warning("%s", text.lstrip(), extra={"origin": report.origin})
        else:
            log_with_stack(logging.WARNING, report.message(runtime.worker), report.lines, report.origin)

    # In the thread.

    def _watch(self) -> None:
        clock = ThreadClock(self._main)
        looked, last, beat, excused = monotonic(), clock.read(), self._beat, 0.0
        while not self._stopped.acquire(timeout=self._every):
            now, spent = monotonic(), clock.read()
            if self._beat != beat:
                beat, excused = self._beat, 0.0
            before = last
            excused += self._excuse(now - looked - self._every, spent.since(before))
            looked, last = now, spent
            if self._look(now, beat, excused, spent.computing - before.computing):
                looked, last = monotonic(), clock.read()  # an examination reads files, which takes a while
        clock.close()

    def _excuse(self, late: float, spent: Spent) -> float:
        """Return the seconds since the last look for which no handler is to blame.

        These are the seconds in which the main thread waited for a core. If this thread itself was `late` without that
        reason, and the main thread did little, the process was stopped.
        """
        was_stopped = late - spent.own_queued >= self._every and spent.computing < late / 2
        return max(spent.queued, late if was_stopped else 0.0)

    def _look(self, now: float, beat: float, excused: float, computing: float) -> bool:
        """Look at the beat; return whether a block was examined.

        So many seconds since the beat are `excused`. The main thread was `computing` for so many since the last look.
        """
        blocked = now - beat - self._every
        if beat == self._judged:
            self._look_again(blocked)
        elif blocked - excused >= self._limit:
            frame = sys._current_frames().get(self._main)  # noqa: SLF001 the only way to the frames of a thread
            is_in_loop = frame is None or frame.f_code is _HUB
            if not (is_in_loop and computing < self._every / 2):  # else the loop waits for events
                self._judged = beat
                self._report = self._examine(now, beat, blocked, frame)
                return True
        return False

    def _look_again(self, blocked: float) -> None:
        """Announce the block, if it lasts."""
        report = self._report
        if report is not None and not report.is_announced and report.is_logged and blocked >= _ANNOUNCE_AFTER:
            report.is_announced, report.seconds = True, blocked
            self._announce(report)

    def _examine(self, now: float, beat: float, blocked: float, frame: FrameType | None) -> BlockReport:
        origin, place = self._current.running(frame), place_of(frame, self._code)
        file, line, _ = place or ("", 0, "")
        omitted = self._throttle.admit((origin.handler, file, line), now)
        report = BlockReport(beat, origin, stack_of(frame, self._code), place, blocked, omitted)
        if report.is_logged:
            report.read_lines()
        return report
