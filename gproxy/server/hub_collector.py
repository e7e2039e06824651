"""Python's collector of cycles, which in a worker runs in the thread of the hub alone.

CPython collects in whichever thread allocates, and runs the finalizers of what it has found there. Those of sockets,
timeouts and generators use the loop, which no other thread may touch (docs/why/workers.md).
"""

import ctypes
import gc
import os
from collections.abc import Callable
from typing import Any, Final

import gevent
from gevent.event import Event
from gevent.monkey import get_original

_start_new_thread: Final = get_original("_thread", "start_new_thread")
_sleep: Final = get_original("time", "sleep")
#: The objects that are new since the last collection, beyond which the next one is due.
_YOUNG: Final = 20_000
#: The collections of one generation, after which the next one is of the older generation too.
_PER_MIDDLE: Final = 20
_PER_FULL: Final = 50
_OLDEST: Final = 2
#: How many times the old objects of the last full collection there must be for the next one. CPython has this rule too:
#: without it, an app with millions of lasting objects would visit all of them again and again.
_GROWTH: Final = 1.25
#: Seconds between two looks; and after a collection, because a thread may make garbage fast.
_PAUSE: Final = 0.1
_SHORT_PAUSE: Final = 0.01
#: The new objects at which what the main thread computes is interrupted for a collection.
_MOST: Final = 10 * _YOUNG

_add_pending_call = ctypes.pythonapi.Py_AddPendingCall
_PENDING_CALL: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)


def _count_old() -> int:
    return sum(len(gc.get_objects(generation)) for generation in (1, 2))


class Generations:
    """The choice of the generation that is collected next: the rule of CPython."""

    def __init__(self, count_old: Callable[[], int] = _count_old) -> None:
        self._count_old = count_old
        #: The collections of each generation since the last one of an older generation.
        self._young = self._middle = 0
        #: The old objects after the last full collection.
        self._old = 0

    def next(self) -> int:
        """Return the oldest generation that is due; the younger ones are collected with it."""
        self._young += 1
        if self._young <= _PER_MIDDLE:
            return 0
        self._young = 0
        self._middle += 1
        if self._middle <= _PER_FULL:
            return 1
        self._middle = 0
        return _OLDEST if self._count_old() > _GROWTH * self._old else 1

    def note_full(self) -> None:
        """Note that all generations were collected."""
        self._old = self._count_old()


class HubCollector:
    """The collections of a worker: a thread looks whether one is due, and a greenlet of the hub collects."""

    def __init__(self) -> None:
        self._generations = Generations()
        self._loop: Any = gevent.get_hub().loop
        self._is_due = Event()
        #: True from the time at which the thread asks until the greenlet begins.
        self._is_asked = False
        self._pending_call = _PENDING_CALL(self._collect_amid)

    def start(self) -> None:
        """Collect from now on, in place of CPython. User code that has switched the collector off keeps it off."""
        if gc.isenabled():
            gc.disable()
            os.register_at_fork(after_in_child=gc.enable)  # a child of user code has no such thread
            gevent.spawn(self._run)
            _start_new_thread(self._look, ())

    # In the thread.

    def _look(self) -> None:
        while True:
            _sleep(_SHORT_PAUSE if self.ask(gc.get_count()[0]) else _PAUSE)

    def ask(self, count: int) -> bool:
        """Ask for a collection if so many new objects make one due; return whether they do."""
        if count <= _YOUNG:
            return False
        if not self._is_asked:
            self._is_asked = True
            self._loop.run_callback_threadsafe(self._is_due.set)
        if count > _MOST:
            _add_pending_call(self._pending_call, None)  # the loop may not turn for a long time
        return True

    # In the main thread.

    def _run(self) -> None:
        # In a greenlet and not in a callback of the loop: finalizers of user code may wait.
        while True:
            self._is_due.wait()
            self._is_due.clear()
            self._is_asked = False
            self.collect()

    def _collect_amid(self, _: object) -> int:
        self.collect()
        return 0

    def collect(self) -> None:
        """Collect, if a collection is still due."""
        if gc.get_count()[0] > _YOUNG:
            generation = self._generations.next()
            gc.collect(generation)
            if generation == _OLDEST:
                self._generations.note_full()
