"""Virtual time: who moves the clock, and what runs meanwhile."""

import math

import gevent
import pytest

from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.testing.kit.clock import STUCK, VirtualAlarm, VirtualClock


@pytest.fixture
def clock():
    made = VirtualClock()
    yield made
    made.close()


def test_a_sleep_moves_the_clock(clock):
    wall = clock.wall()
    clock.sleep(90)
    assert (clock.now, clock.wall() - wall) == (1_000_090.0, 90.0)
    clock.sleep(0)
    clock.sleep(-1)
    assert clock() == 1_000_090.0


def test_sleepers_wake_in_order_and_share_the_time(clock):
    woken = []

    def sleep(seconds):
        clock.sleep(seconds)
        woken.append((seconds, clock.now - 1_000_000))

    gevent.joinall([gevent.spawn(sleep, seconds) for seconds in (3, 1, 2, 1)])
    assert woken == [(1, 1.0), (1, 1.0), (2, 2.0), (3, 3.0)]


def test_a_test_advances_through_each_moment(clock):
    woken = []

    def work():
        while True:
            clock.sleep(10)
            woken.append(clock.now - 1_000_000)

    worker = gevent.spawn(work)
    clock.advance(35)
    assert (woken, clock.now) == ([10.0, 20.0, 30.0], 1_000_035.0)
    worker.kill()


def test_background_tasks_do_not_move_the_clock(clock):
    woken = []

    def start():
        with clock.background():
            gevent.spawn(lambda: (clock.sleep(5), woken.append(clock.now)))

    gevent.spawn(start).get()
    gevent.sleep(0.005)
    assert woken == []
    clock.sleep(9)
    assert woken == [1_000_005.0]


def test_a_block_ends_after_its_time_and_others_go_on(clock):
    with clock.bounded(2):
        clock.sleep(5)
    assert clock.now == 1_000_002.0
    with clock.bounded(4), clock.bounded(9):
        clock.sleep(5)
        raise AssertionError("the outer block has ended")
    with clock.bounded(9):
        clock.sleep(1)
    clock.sleep(100)
    assert clock.now == 1_000_107.0


def test_an_alarm_throws_its_limit_into_its_greenlet(clock):
    alarm = VirtualAlarm(clock)
    alarm.set(clock.now + 3, TimeLimit.DEADLINE)
    with pytest.raises(Expired) as raised:
        clock.sleep(5)
    assert (raised.value.limit, clock.now) == (TimeLimit.DEADLINE, 1_000_003.0)
    alarm.set(clock.now + 3, TimeLimit.DEADLINE)
    with pytest.raises(Expired):
        clock.advance(5)
    alarm.set(clock.now + 3, TimeLimit.DEADLINE)
    alarm.close()
    clock.sleep(5)


def test_a_wait_that_nothing_ends_is_an_error(clock):
    with pytest.raises(AssertionError, match=STUCK):
        clock.sleep(math.inf)
