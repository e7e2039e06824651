import mmap
import os
import signal
import time

import pytest
from processes import Child, together

from gproxy.state import mutex

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
                assert one._patience > 0
    together(2, lambda _: one.__enter__())  # nor do they leave it locked


def test_a_stopped_holder_costs_one_wait_and_no_more(memory):
    words = memoryview(memory)[1024:].cast("Q")
    one, other, *_ = mutex.attach(memory, 4)
    child = Child(hold, memory, words)
    until(words)
    os.kill(child.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        for _ in range(200):
            with one:
                pass
        assert 0.04 < time.monotonic() - began < 5
        with other:  # is nobody's
            assert other._patience > 0
    finally:
        os.kill(child.pid, signal.SIGCONT)
        child.kill()
    with one:
        pass
    assert one._patience > 0  # it is worth waiting for again
