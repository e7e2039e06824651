import errno
import mmap
import os
import signal
import time

import pytest

from gproxy.state.shared import mutex
from unit.state.processes import Child, together

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


@pytest.fixture
def memory():
    made = mmap.mmap(-1, 4096)
    mutex.create(made, 4)
    return made


def test_only_one_process_at_a_time(memory):
    words = memoryview(memory)[1024:].cast("Q")

    def count(_):
        one, *_ = mutex.attach(memory, 4)
        for _ in range(100_000):
            with one:
                words[0] += 1

    together(4, count)
    assert words[0] == 400_000


def hold(memory, ready):
    one, *_ = mutex.attach(memory, 4)
    with one:
        ready[0] = 1
        time.sleep(60)


def until(words):
    deadline = time.monotonic() + 15
    while not words[0]:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_killed_holder_gives_it_up(memory):
    words = memoryview(memory)[1024:].cast("Q")
    one, *_ = mutex.attach(memory, 4)
    for _ in range(3):
        words[0] = 0
        child = Child(hold, memory, words)
        until(words)
        child.kill()
        for _ in range(2):  # once as an heir, once as usual
            with one:
                pass
    assert Child(one.__enter__).wait() == 0  # nor is one locked that ends without a word
    with one:
        pass


def test_a_waiter_is_woken_by_its_holders_end(memory):
    words = memoryview(memory)[1024:].cast("Q")
    one, *_ = mutex.attach(memory, 4)
    child = Child(hold, memory, words)
    until(words)
    waiter = Child(one.__enter__)
    time.sleep(0.05)
    child.kill()
    assert waiter.wait() == 0


def test_a_stopped_holder_costs_one_wait_and_no_more(memory, monkeypatch):
    monkeypatch.setattr(mutex, "_MAX_WAIT", 0.05)
    words = memoryview(memory)[1024:].cast("Q")
    one, other, *_ = mutex.attach(memory, 4)
    child = Child(hold, memory, words)
    until(words)
    os.kill(child.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        for _ in range(200):
            with one, other:
                pass
        assert 0.04 < time.monotonic() - began < 5
        assert one._skip_wait_until > other._skip_wait_until == 0
    finally:
        os.kill(child.pid, signal.SIGCONT)
        child.kill()
    with one:
        assert Child(lambda: os._exit(mutex._try_lock(one._address))).wait() == errno.EBUSY


def test_it_waits_again_once_a_stopped_holder_has_gone_on(memory, monkeypatch):
    monkeypatch.setattr(mutex, "_MAX_WAIT", 0.05)
    held, goes_on, free, seen_free, held_again, done = [
        memoryview(memory)[at:].cast("Q") for at in range(1024, 1072, 8)
    ]
    one, *_ = mutex.attach(memory, 4)

    def hold_twice():
        with one:
            held[0] = 1
            until(goes_on)
        free[0] = 1
        until(seen_free)
        with one:
            held_again[0] = 1
            time.sleep(0.05)
            done[0] = 1

    child = Child(hold_twice)
    until(held)
    with one:  # a wait in vain
        goes_on[0] = 1
    monkeypatch.setattr(mutex, "_MAX_WAIT", 60.0)
    until(free)
    with one:
        pass
    seen_free[0] = 1
    until(held_again)
    with one:
        assert done[0]
    assert child.wait() == 0


def test_it_waits_again_once_a_stopped_holder_was_killed(memory, monkeypatch):
    monkeypatch.setattr(mutex, "_MAX_WAIT", 0.05)
    words = memoryview(memory)[1024:].cast("Q")
    one, *_ = mutex.attach(memory, 4)
    child = Child(hold, memory, words)
    until(words)
    with one:  # a wait in vain
        pass
    child.kill()
    with one:
        assert one._skip_wait_until == 0


def test_a_stop_of_waiter_and_holder_together_is_no_wait_in_vain(memory, monkeypatch):
    held, goes_on, done = (memoryview(memory)[at:].cast("Q") for at in range(1024, 1048, 8))
    one, *_ = mutex.attach(memory, 4)
    after = mutex._after

    def hold_on():
        with one:
            held[0] = 1
            until(goes_on)
            done[0] = 1

    def passed_during_the_stop(seconds):
        monkeypatch.setattr(mutex, "_after", after)
        goes_on[0] = 1
        return after(-seconds)

    child = Child(hold_on)
    until(held)
    monkeypatch.setattr(mutex, "_after", passed_during_the_stop)
    with one:
        assert done[0]
    assert child.wait() == 0
