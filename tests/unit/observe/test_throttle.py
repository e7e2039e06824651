"""Throttled warnings: the first of a kind, then the number of further ones."""

import logging

import pytest

from gproxy.observe.throttle import Throttle
from gproxy.testing import Clock


@pytest.fixture
def clock():
    return Clock(0.0)


@pytest.fixture
def throttle(clock, caplog):
    caplog.set_level(logging.DEBUG)
    return Throttle(logging.getLogger("gproxy"), clock, 10.0)


def warnings(caplog):
    found = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    caplog.clear()
    return found


def test_the_first_warning_is_logged_and_further_ones_are_counted(throttle, clock, caplog):
    throttle.warn("a", "%s: is %s", 1, "broken")
    clock.advance(5)
    throttle.warn("b", "other")
    clock.advance(4.5)
    throttle.warn("a", "%s: is %s", 2, "broken")
    throttle.warn("a", "%s: is %s", 3, "broken")
    throttle.summarize()
    assert warnings(caplog) == ["1: is broken", "other"]
    clock.advance(0.5)
    throttle.summarize()
    assert warnings(caplog) == ["a: 2 more within 10 s"]


def test_further_warnings_are_logged_at_level_debug(throttle, caplog):
    for number in range(3):
        throttle.warn("a", "number %d", number)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "number 0"), ("DEBUG", "number 1"), ("DEBUG", "number 2"),
    ]  # fmt: skip


def test_a_continuing_kind_is_summed_up_every_period(throttle, clock, caplog):
    throttle.warn("a", "first")
    assert warnings(caplog) == ["first"]
    for second in range(1, 31):
        clock.advance(1)
        throttle.warn("a", "further")
        throttle.summarize()
        assert warnings(caplog) == (["a: 10 more within 10 s"] if second % 10 == 0 else [])


def test_a_kind_without_warnings_for_a_period_is_forgotten(throttle, clock, caplog):
    throttle.warn("a", "first")
    clock.advance(10)
    throttle.summarize()
    assert not throttle._kinds
    throttle.warn("a", "again")
    assert warnings(caplog) == ["first", "again"]
