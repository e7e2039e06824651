"""The event loop of asyncio in a thread of its own, for libraries that need one."""

import asyncio
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

import gevent
from gevent.event import Event
from gevent.threadpool import ThreadPool

from gproxy.runtime.client_watch import ClientWatch, served_watch

T = TypeVar("T")

#: Seconds in which coroutines that are cancelled at the end may still clean up.
_CLEAN_UP: Final = 1.0


class AsyncioLoop:
    """The loop of all coroutines of the process; its thread starts with the first one."""

    def __init__(self, _: object = None) -> None:
        self._thread: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        #: Set at the end of the start under way, which may have failed; None without one.
        self._starting: Event | None = None
        #: The calls that have ended, until the greenlets that wait are woken.
        self._ended: deque[_Call] = deque()
        #: What the thread of the loop sends to this one; there is no other safe way.
        self._signal: Any = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run the coroutine and return its result. If the wait for it ends earlier, the coroutine is cancelled.

        Raises what the coroutine raises; RuntimeError if it was cancelled otherwise; Expired at the deadline of the
        request that the greenlet serves, and ClientGone if its client leaves.
        """
        if not asyncio.iscoroutine(coroutine):
            raise TypeError(f"{coroutine!r} is no coroutine; call the async function")
        watch = served_watch()
        call = _Call(coroutine, watch)
        try:
            loop = self._started()
        except BaseException:
            coroutine.close()  # else Python warns that nothing has run it
            raise
        loop.call_soon_threadsafe(self._begin, call)
        try:
            while not call.is_done:
                watch.wait()
        except BaseException:
            with suppress(RuntimeError):  # the loop is closed, and the coroutine cancelled
                loop.call_soon_threadsafe(call.cancel)
            raise
        result: T = call.result()
        return result

    def _started(self) -> asyncio.AbstractEventLoop:
        """Start the thread unless it runs, and return the loop. A start that fails leaves nothing, for the next."""
        while self._loop is None:
            if self._starting is None:
                self._starting = Event()
                try:
                    self._start()
                finally:
                    self._starting.set()
                    self._starting = None
            else:
                self._starting.wait()
        return self._loop

    def _start(self) -> None:
        """Start the thread and its loop."""
        thread = made = None
        signal = gevent.get_hub().loop.async_()
        try:
            signal.start(self._wake)
            thread = ThreadPool(1)
            made = thread.spawn(asyncio.new_event_loop)
            loop = made.get()
            thread.spawn(_serve, loop)
        except BaseException:
            signal.close()
            if thread is not None:
                gevent.spawn(_undo, thread, made)
            raise
        self._signal, self._thread, self._loop = signal, thread, loop

    def _begin(self, call: "_Call") -> None:
        """Begin the call, in the thread of the loop."""
        call.begin(self._end)

    def _end(self, call: "_Call") -> None:
        """Pass on that a call has ended, from the thread of the loop."""
        self._ended.append(call)
        self._signal.send()

    def _wake(self) -> None:
        while self._ended:
            call = self._ended.popleft()
            call.is_done = True
            call.watch.wake()

    def close(self) -> None:
        """Cancel all coroutines, and end the thread."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        asyncio.run_coroutine_threadsafe(_stop(), loop)
        with gevent.Timeout(2 * _CLEAN_UP, False):
            self._thread.join()
        self._signal.close()
        self._wake()  # it may not have been passed on yet


def _undo(thread: ThreadPool, made: Any) -> None:  # noqa: ANN401 gevent has no types
    """Close the loop that was made, or is being made, in this thread, and end the thread."""
    try:
        if made is not None:
            with suppress(Exception):  # it was not made
                thread.apply(made.get().close)
    finally:
        thread.kill()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped, in its thread."""
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _stop() -> None:
    """Cancel all other tasks of the loop, wait a little for them, and stop it."""
    loop = asyncio.get_running_loop()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=_CLEAN_UP)
    loop.stop()


class _Call:
    """A coroutine that runs, and the watch of the greenlet that waits for it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], watch: ClientWatch) -> None:
        self._coroutine = coroutine
        self._task: asyncio.Task[Any] | None = None
        self.watch = watch
        self.is_done = False

    def begin(self, end: Any) -> None:  # noqa: ANN401 a function that gets a call
        """Make the task; call `end` when it has ended."""
        self._task = asyncio.get_running_loop().create_task(self._coroutine)
        self._task.add_done_callback(lambda _: end(self))

    def cancel(self) -> None:
        """Cancel the task; an exception that it raises has no reader."""
        if self._task is not None and not self._task.cancel() and not self._task.cancelled():
            self._task.exception()  # else asyncio logs that it was never retrieved

    def result(self) -> Any:  # noqa: ANN401 any result
        """Return the result of the task that has ended. Raises its exception."""
        assert self._task is not None  # noqa: S101 it has ended
        if self._task.cancelled():
            raise RuntimeError("the coroutine was cancelled")
        return self._task.result()
