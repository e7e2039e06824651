"""Threads of low priority: what they run, how many there are, and what they leave to others."""

import os
import threading
import time

import gevent
import pytest

from gproxy.identity.secrets.low_threads import LowThreads


@pytest.fixture
def threads():
    threads = LowThreads(2)
    yield threads
    threads.close()


def test_work_runs_at_a_low_priority_and_the_rest_of_the_process_at_its_own(threads):
    before = os.getpriority(os.PRIO_PROCESS, 0)
    lowered = threads.run(os.getpriority, os.PRIO_PROCESS, 0)
    assert lowered == max(before, 15)
    assert threads.run(os.getpriority, os.PRIO_PROCESS, 0) == lowered
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_two_run_at_a_time_and_other_greenlets_meanwhile(threads):
    running, most = set(), []

    def work(number):
        running.add(number)
        time.sleep(0.02)
        most.append(len(running))
        running.discard(number)
        return threading.get_ident()

    greenlets = [gevent.spawn(threads.run, work, number) for number in range(6)]
    turns = 0
    while not all(greenlet.ready() for greenlet in greenlets):
        gevent.sleep(0.001)
        turns += 1
    assert max(most) == 2
    assert len({greenlet.value for greenlet in greenlets}) == 2
    assert turns > 10


def test_an_error_of_the_work_is_raised(threads):
    with pytest.raises(ZeroDivisionError):
        threads.run(lambda: 1 // 0)
