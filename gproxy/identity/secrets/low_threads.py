"""Threads of low priority, for work that takes tenths of a second, such as a hash of a password."""

import os
from collections.abc import Callable
from typing import Final, TypeVar

from gevent.threadpool import ThreadPool

T = TypeVar("T")

#: The niceness of a thread: on a busy core it gets a thirtieth of the time that the event
#: loop gets, and without it the loop would wait for whole time slices of the kernel (docs/why/identity.md).
_NICENESS: Final = 15


class LowThreads:
    """At most `count` threads, which start with the first work. They are no part of `Runtime.offload`.

    A thread that has lowered its priority cannot raise it again, and others of that pool compress responses.
    """

    def __init__(self, count: int) -> None:
        self._pool = ThreadPool(count)

    def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Run a blocking function in a thread and return its result; other greenlets run meanwhile."""
        result: T = self._pool.apply(_run, (function, *arguments))
        return result

    def close(self) -> None:
        """End the threads once their work is done."""
        self._pool.kill()


def _run(function: Callable[..., T], *arguments: object) -> T:
    # On Linux a priority is that of the thread, not of the process.
    if os.getpriority(os.PRIO_PROCESS, 0) < _NICENESS:
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    return function(*arguments)
