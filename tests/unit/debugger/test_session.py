"""The clocks of a stopped request."""

import math

import pytest

from gproxy.debugger.session import paused
from gproxy.http.deadline import Deadline
from gproxy.http.phase import DEBUG, HANDLER
from gproxy.http.time_limit import ExchangeLimits, TimeLimit
from gproxy.runtime.alarm import Alarm, TimerWheel
from gproxy.testing import Clock, request


@pytest.fixture
def clock():
    return Clock(100.0)


def test_the_deadline_moves_by_the_time_of_the_stop(clock):
    one = request()
    alarm = Alarm(TimerWheel())
    one.deadline = Deadline(alarm, clock)
    one.deadline.begin(ExchangeLimits.of_gateway(3.0, 60.0))
    assert (alarm.expires, alarm.limit) == (103.0, TimeLimit.DEADLINE)
    with paused(one):
        assert (alarm.expires, one.phase) == (math.inf, DEBUG)
        clock.advance(600)
    assert (alarm.expires, one.deadline.expires) == (703.0, 703.0)
    assert one.phase == HANDLER
    assert one.deadline.paused == 0.0, "no client was waited for"
    one.deadline.set(math.inf)
    alarm.close()


def fail_after(clock, seconds):
    clock.advance(seconds)
    raise ValueError("wrong")


def test_a_limit_of_one_wait_moves_too_and_an_exception_passes(clock):
    one = request()
    alarm = Alarm(TimerWheel())
    one.deadline = Deadline(alarm, clock)
    alarm.set(101.0, TimeLimit.READ)
    with pytest.raises(ValueError, match="wrong"), paused(one):
        fail_after(clock, 5)
    assert (alarm.expires, alarm.limit, one.phase) == (106.0, TimeLimit.READ, HANDLER)
    alarm.close()


def test_code_without_a_request_has_no_clocks():
    with paused(None):
        pass
