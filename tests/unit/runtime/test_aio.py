"""Coroutines that greenlets wait for: results, errors, and their end."""

import asyncio
import threading
import time
from collections import deque

import gevent
import pytest

from gproxy.runtime import Runtime
from gproxy.runtime.aio import AsyncioLoop


@pytest.fixture(scope="module")
def runtime():
    made = Runtime()
    yield made
    made.single(AsyncioLoop).close()


class Waiting:
    """A coroutine function that waits, and notes its cancellation."""

    def __init__(self):
        self.begun, self.ended = threading.Event(), threading.Event()

    async def __call__(self):
        self.begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            self.ended.set()


async def double(value):
    await asyncio.sleep(0.01)
    return 2 * value


async def failing():
    raise KeyError("no luck")


async def cancelled():
    raise asyncio.CancelledError


async def clock():
    return asyncio.get_running_loop(), threading.get_native_id()


def test_results_and_exceptions_come_back(runtime):
    assert runtime.aio(double(21)) == 42
    with pytest.raises(KeyError, match="no luck") as raised:
        runtime.aio(failing())
    assert raised.traceback[-1].name == "failing"
    with pytest.raises(RuntimeError, match="cancelled"):
        runtime.aio(cancelled())


def test_all_run_on_one_loop_in_another_thread_side_by_side(runtime):
    began = time.monotonic()

    async def slow():
        await asyncio.sleep(0.2)
        return await clock()

    jobs = [gevent.spawn(runtime.aio, slow()) for _ in range(20)]
    gevent.joinall(jobs, raise_error=True)
    ((_, thread),) = {job.value for job in jobs}
    assert thread != threading.get_native_id()
    assert time.monotonic() - began < 2


def test_a_wait_that_ends_cancels_the_coroutine(runtime):
    waiting = Waiting()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
        runtime.aio(waiting())
    assert wait(waiting.ended)
    waiting = Waiting()
    job = gevent.spawn(runtime.aio, waiting())
    assert wait(waiting.begun)
    job.kill()
    assert wait(waiting.ended)


def wait(event):
    deadline = time.monotonic() + 5
    while not event.is_set() and time.monotonic() < deadline:
        gevent.sleep(0.005)
    return event.is_set()


def test_what_is_no_coroutine_is_said(runtime):
    with pytest.raises(TypeError, match="call the async function"):
        runtime.aio(double)


def test_the_end_of_the_process_cancels_what_runs_and_a_first_call_begins_anew():
    loop, waiting = AsyncioLoop(), Waiting()
    job = gevent.spawn(loop.run, waiting())
    assert wait(waiting.begun)
    loop.close()
    assert waiting.ended.is_set()
    with pytest.raises(RuntimeError, match="cancelled"):
        job.get(timeout=5)
    loop.close()


def test_a_start_that_fails_is_tried_again_by_the_next_call(monkeypatch):
    loop, real = AsyncioLoop(), asyncio.new_event_loop

    def fails():
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(asyncio, "new_event_loop", fails)
    with pytest.raises(OSError, match="Too many"):
        loop.run(double(1))
    monkeypatch.setattr(asyncio, "new_event_loop", real)
    assert loop.run(double(1)) == 2
    loop.close()


@pytest.mark.filterwarnings("error")
def test_a_start_that_is_ended_is_undone_while_others_wait_for_it(monkeypatch):
    loop, real, made = AsyncioLoop(), asyncio.new_event_loop, []

    def slow():
        time.sleep(0.2)
        made.append(real())
        return made[-1]

    monkeypatch.setattr(asyncio, "new_event_loop", slow)
    first, second = gevent.spawn(loop.run, double(1)), gevent.spawn(loop.run, double(2))
    gevent.sleep(0.05)
    first.kill()
    assert second.get(timeout=5) == 4
    assert len(made) == 2
    assert wait_until(made[0].is_closed)
    loop.close()


def wait_until(is_so):
    deadline = time.monotonic() + 5
    while not is_so() and time.monotonic() < deadline:
        gevent.sleep(0.005)
    return is_so()


def test_a_wait_that_ends_after_the_loop_is_closed_raises_its_own_end():
    class Lost(deque):
        def append(self, _):
            pass

    loop, waiting = AsyncioLoop(), Waiting()
    loop._ended = Lost()
    job = gevent.spawn(loop.run, waiting())
    assert wait(waiting.begun)
    loop.close()
    job.kill()
    assert job.successful()
