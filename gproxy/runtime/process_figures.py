"""What a process counts of itself: its memory, its descriptors and its greenlets."""

import gc
import os
import platform
import resource
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Final

import psutil
from greenlet import greenlet

from gproxy import __version__, is_compiled
from gproxy.observe.metrics import Metrics

_DESCRIPTORS: Final = "/proc/self/fd"
#: Seconds between two counts of descriptors: with 10,000 of them a count takes 15 ms.
COUNT_EVERY: Final = 10.0
#: Seconds between two counts of greenlets at least, and how much longer than a count the pause after it is.
_LEAST_PAUSE: Final = 10.0
_TIMES: Final = 2000.0


class ProcessFigures:
    """The figures of a process, for `/health`, the metrics and the monitor."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        #: Idle greenlets that wait for another connection; they do not count.
        self.parked: list[greenlet] = []
        #: Idle greenlets of HTTP/2, which do not count either.
        self.parked_streams: Sequence[object] = ()
        self._resident_greenlets = 0
        self._memory, self._descriptors, self._next_count = 0, 0, 0.0

    def watch(self, metrics: Metrics) -> None:
        """Show the figures among the metrics."""
        metrics.watch("gproxy_worker_memory_bytes", (), self.memory)
        metrics.watch("gproxy_open_fds", (), self.descriptors)
        metrics.watch("gproxy_max_fds", (), lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        metrics.watch("gproxy_greenlets", (), Seldom(self.greenlets, self._monotonic))
        metrics.watch("gproxy_worker_cpu_seconds_total", (), time.process_time)
        build = __version__, platform.python_version(), "yes" if is_compiled else "no"
        metrics.watch("gproxy_build_info", build, lambda: 1)

    def freeze(self) -> None:
        """Freeze all present objects: the collector need not visit them again. Their greenlets still count."""
        gc.collect(1)  # what is older is in use: a visit to all of it would take a twentieth of the start
        self._resident_greenlets = self.greenlets()
        gc.freeze()

    def greenlets(self) -> int:
        """Return the number of live greenlets. Visits all objects of the collector, which takes milliseconds."""
        # By type and not isinstance, which asks weak proxies for the class of an object that is gone.
        live = sum(1 for thing in gc.get_objects() if issubclass(type(thing), greenlet) and not thing.dead)
        return self._resident_greenlets + live - len(self.parked) - len(self.parked_streams)

    @cached_property
    def _process(self) -> psutil.Process:
        return psutil.Process()

    def memory(self) -> int:
        """Return the resident memory in bytes; the previous value while the process has no free descriptors."""
        with suppress(OSError):
            self._memory = self._process.memory_info().rss
        return self._memory

    def descriptors(self) -> int:
        """Return the number of open descriptors. Before Linux 6.2 it is counted, at most every COUNT_EVERY seconds."""
        with suppress(OSError):
            if size := os.stat(_DESCRIPTORS).st_size:  # noqa: PTH116
                return size
            now = self._monotonic()
            if now >= self._next_count:
                self._next_count = now + COUNT_EVERY
                self._descriptors = len(os.listdir(_DESCRIPTORS))  # noqa: PTH208
        return self._descriptors


class Seldom:
    """The result of a function, called at most every ten seconds, and less often if it takes more than 5 ms."""

    def __init__(self, count: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._count = count
        self._monotonic = monotonic
        self._last = 0.0
        self._next = 0.0

    def __call__(self) -> float:
        """Return the last result, or a new one if it is time."""
        began = self._monotonic()
        if began >= self._next:
            self._last = self._count()
            ended = self._monotonic()
            self._next = ended + max(_LEAST_PAUSE, _TIMES * (ended - began))
        return self._last
