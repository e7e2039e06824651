"""Limits of single waits, with the clock and the alarm given."""

import math

import pytest

from gproxy.http.deadline import Deadline
from gproxy.http.request import request
from gproxy.http.time_limit import TimeLimit
from gproxy.testing import Clock
from gproxy.upstream.forwarder.time_limits import AttemptLimits, TimedAttempt
from gproxy.upstream.retry import FailedAttempt


class RecordingTimer:
    """Keeps the last time that was set, relative to the start, and its limit."""

    def __init__(self, start):
        self.start = start
        self.last = None

    def set(self, expires, limit):
        self.last = (expires - self.start, limit)


def limits_of(**seconds):
    kinds = {"attempt": TimeLimit.ATTEMPT, "first_byte": TimeLimit.FIRST_BYTE, "read": TimeLimit.READ}
    return AttemptLimits(**{name: kinds[name].of(value, name) for name, value in seconds.items()})


class Exchange:
    """A request whose deadline is 10 s ahead, and one attempt under limits."""

    def __init__(self, **limits):
        self.clock = Clock(100.0)
        self.timer = RecordingTimer(100.0)
        self.request = request()
        self.request.deadline = self.deadline = Deadline(self.timer, self.clock)
        self.deadline.set(110.0)
        self.limits = limits_of(**limits)

    def run(self, *steps):
        """The alarm after the start, and after each step; then after the end."""
        seen = []

        def attempt(request, backend):
            seen.append(self.timer.last)
            for seconds, heard in steps:
                self.clock.advance(seconds)
                self.deadline.progress(heard)
                seen.append(self.timer.last)
            return backend

        assert self.limits.around(attempt)(self.request, "a") == "a"
        return seen


DEADLINE = (10.0, TimeLimit.DEADLINE)


def test_without_limits_the_attempt_stays_as_it_is():
    def attempt(request, backend): ...

    assert AttemptLimits().around(attempt) is attempt
    assert limits_of(read=1.0).around(attempt) is not attempt


def test_the_limit_of_an_attempt_holds_from_the_start():
    exchange = Exchange(attempt=3.0)
    assert exchange.run((1.0, False), (1.0, True)) == [(3.0, TimeLimit.ATTEMPT)] * 3


def test_the_first_byte_is_due_from_the_connection_on():
    exchange = Exchange(first_byte=2.0)
    assert exchange.run((1.0, False), (1.5, False)) == [DEADLINE, *[(3.0, TimeLimit.FIRST_BYTE)] * 2]


def test_each_sign_of_life_moves_the_read_limit():
    exchange = Exchange(read=2.0)
    assert exchange.run((1.0, False), (1.5, True)) == [DEADLINE, (3.0, TimeLimit.READ), (4.5, TimeLimit.READ)]


def test_the_first_byte_limit_replaces_the_read_limit_until_the_first_byte():
    exchange = Exchange(first_byte=5.0, read=1.0)
    assert exchange.run((1.0, False), (1.0, True)) == [
        DEADLINE, (6.0, TimeLimit.FIRST_BYTE), (3.0, TimeLimit.READ),
    ]  # fmt: skip


def test_the_earliest_limit_counts():
    exchange = Exchange(attempt=4.0, read=1.0)
    assert exchange.run((1.0, True), (2.5, True)) == [
        (4.0, TimeLimit.ATTEMPT), (2.0, TimeLimit.READ), (4.0, TimeLimit.ATTEMPT),
    ]  # fmt: skip


def test_a_limit_behind_the_deadline_leaves_the_deadline():
    assert Exchange(attempt=10.5).run((1.0, True)) == [DEADLINE] * 2


def test_the_limits_pause_with_the_deadline():
    exchange = Exchange(attempt=3.0)
    exchange.deadline.paused = 1.0  # of an earlier attempt: it does not count here

    def attempt(request, backend):
        exchange.deadline.paused += 2.0
        exchange.deadline.expires += 2.0
        exchange.deadline.progress(True)
        assert exchange.timer.last == (5.0, TimeLimit.ATTEMPT)

    exchange.limits.around(attempt)(exchange.request, "a")


@pytest.mark.parametrize("error", [None, ValueError])
def test_the_end_of_an_attempt_restores_the_deadline(error):
    exchange = Exchange(attempt=3.0)

    def attempt(request, backend):
        if error is not None:
            raise error

    if error is None:
        exchange.limits.around(attempt)(exchange.request, "a")
    else:
        with pytest.raises(error):
            exchange.limits.around(attempt)(exchange.request, "a")
    assert exchange.timer.last == DEADLINE
    assert exchange.deadline.progress is None
    assert exchange.deadline.expires != math.inf


def timed(attempt):
    """Make the attempt with a given clock, and return the seconds that are left in the exchange, and the result."""
    clock = Clock(100.0)
    made = request()
    made.deadline = Deadline(None, clock)
    made.exchange.apptime = 7.0  # of an earlier attempt
    result = TimedAttempt(lambda request, backend: attempt(request, clock))(made, None)
    return made.exchange.apptime, result


def test_the_duration_of_an_attempt_is_in_the_exchange():
    assert timed(lambda request, clock: clock.advance(0.25) or "head") == (0.25, "head")


def test_seconds_of_waiting_for_the_client_do_not_count():
    def attempt(request, clock):
        clock.advance(5.0)
        request.deadline.paused += 4.0

    assert timed(attempt) == (1.0, None)


def test_a_failed_attempt_has_no_duration():
    failed = (FailedAttempt(None, None, None),)
    assert timed(lambda request, clock: failed) == (-1.0, failed)


def test_an_attempt_that_raises_has_no_duration():
    made = request()
    made.exchange.apptime = 7.0
    with pytest.raises(ZeroDivisionError):
        TimedAttempt(lambda request, backend: 1 / 0)(made, None)
    assert made.exchange.apptime == -1.0
