"""A function in a thread and the greenlet that waits for it."""

import threading
from contextlib import contextmanager
from functools import partial

import gevent
import pytest
from gevent.monkey import get_original
from gevent.threadpool import ThreadPool

from gproxy.http.errors import HTTPError
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.runtime.offloaded_call import Abandoned, Ended, OffloadedCall

SLEEP = get_original("time", "sleep")


@pytest.fixture
def threads():
    pool = ThreadPool(4)
    yield pool
    pool.kill()


class Dropped:
    count = 0

    def __call__(self):
        self.count += 1


def wait_for(dropped):
    with gevent.Timeout(5):
        while not dropped.count:
            gevent.sleep(0.01)


@contextmanager
def expiring(seconds):
    """Throw the end of the deadline into this greenlet after so many seconds, as an alarm does."""
    timer = gevent.get_hub().loop.timer(seconds)
    timer.start(gevent.getcurrent().throw, Expired(TimeLimit.DEADLINE))
    try:
        yield
    finally:
        timer.close()


def ends(call):
    """Return the last message of a call that asks nothing."""
    call.start()
    return call.receive()


def test_the_result_and_the_thread(threads):
    ended = ends(OffloadedCall(lambda call: threading.get_native_id(), Dropped(), threads))
    assert ended.error is None
    assert ended.result != threading.get_native_id()


def test_an_exception_of_the_function(threads):
    def fail(call):
        raise SystemExit(3)

    assert isinstance(ends(OffloadedCall(fail, Dropped(), threads)).error, SystemExit)


def test_questions_and_answers(threads):
    def ask(call):
        call.tell("begin")
        first = call.ask("one")
        try:
            call.ask("two")
        except HTTPError as error:
            return first, error.status

    call = OffloadedCall(ask, Dropped(), threads)
    call.start()
    assert (call.receive(), call.receive()) == ("begin", "one")
    call.reply(1)
    assert call.receive() == "two"
    call.reply(error=HTTPError(413))
    assert call.receive() == Ended((1, 413), None)


@pytest.mark.parametrize("received", [False, True])
def test_a_thread_that_asks_learns_that_its_greenlet_has_left(threads, received):
    begun, seen, dropped = [], [], Dropped()

    def ask(call):
        begun.append(True)
        try:
            call.ask("question")
        except Abandoned:
            seen.append("abandoned")
            raise

    call = OffloadedCall(ask, dropped, threads)
    call.start()
    while not begun:
        SLEEP(0.001)
    if received:
        call.receive()
    call.abandon()
    call.abandon()
    wait_for(dropped)
    assert (seen, dropped.count) == (["abandoned"], 1)


def test_a_late_result_is_dropped_and_counted(threads):
    dropped = Dropped()
    call = OffloadedCall(lambda call: SLEEP(0.3), dropped, threads)
    call.start()
    with pytest.raises(Expired), expiring(0.1):
        call.receive()
    wait_for(dropped)


def test_an_end_without_a_thread_runs_nothing(threads):
    """A pool of one thread, which is taken: 503, and the function never runs."""
    threads.maxsize, ran = 1, []
    taken = threads.spawn(SLEEP, 0.4)
    with pytest.raises(HTTPError) as caught, expiring(0.1):
        ends(OffloadedCall(ran.append, Dropped(), threads))
    assert (caught.value.status, caught.value.reason) == (503, "threads_busy")
    taken.get()
    threads.apply(int)
    assert ran == []


class Used:
    """What a function refers to; it notes the thread in which it ends."""

    def __init__(self, ended):
        self.ended = ended

    def __del__(self):
        self.ended.append(threading.get_native_id())


@pytest.mark.parametrize("how", ["returns", "fails", "never begins"])
def test_what_the_function_refers_to_ends_in_the_thread_of_the_loop(threads, how):
    """Its finalizers may use the loop, and the greenlet has left before."""
    ended, go = [], []

    def work(used, call):
        while not go:
            SLEEP(0.001)
        SLEEP(0.01)
        if how == "fails":
            raise OSError(used)
        return used

    if how == "never begins":
        threads.maxsize = 1
        threads.spawn(work, None, None)
    call = OffloadedCall(partial(work, Used(ended)), Dropped(), threads)
    call.start() if how != "never begins" else gevent.spawn(call.start)
    gevent.sleep(0)
    call.abandon()
    del call
    go.append(True)
    with gevent.Timeout(5):
        while not ended:
            gevent.sleep(0.001)
    assert ended == [threading.get_native_id()]
