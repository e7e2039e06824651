"""The first of a kind, then how many more."""

from gproxy.observe.throttle import Throttle


def test_the_first_is_written_and_the_rest_is_counted():
    throttle = Throttle(10.0)
    assert [throttle.is_first("a", now) for now in (0.0, 0.1, 9.0)] == [True, False, False]
    assert throttle.is_first("b", 5.0)
    assert list(throttle.summaries(9.9)) == []
    assert list(throttle.summaries(10.0)) == [("a", 2)]


def test_one_that_goes_on_is_summed_up_again_and_again():
    throttle = Throttle(10.0)
    throttle.is_first("a", 0.0)
    for second in range(1, 31):
        assert not throttle.is_first("a", second)
        found = list(throttle.summaries(second))
        assert found == ([("a", 10)] if second % 10 == 0 else [])


def test_one_that_was_silent_for_a_period_begins_anew_and_is_forgotten():
    throttle = Throttle(10.0)
    throttle.is_first("a", 0.0)
    assert list(throttle.summaries(10.0)) == []
    assert not throttle._kinds
    assert throttle.is_first("a", 11.0)
