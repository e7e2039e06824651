"""Throttled messages: the first of a kind, then the number of further ones."""

from gproxy.observe.throttle import Throttle


def test_the_first_message_is_logged_and_the_rest_is_counted():
    throttle = Throttle(10.0)
    assert [throttle.is_first("a", now) for now in (0.0, 0.1, 9.0)] == [True, False, False]
    assert throttle.is_first("b", 5.0)
    assert list(throttle.summaries(9.9)) == []
    assert list(throttle.summaries(10.0)) == [("a", 2)]


def test_a_continuing_kind_is_summed_up_every_period():
    throttle = Throttle(10.0)
    throttle.is_first("a", 0.0)
    for second in range(1, 31):
        assert not throttle.is_first("a", second)
        found = list(throttle.summaries(second))
        assert found == ([("a", 10)] if second % 10 == 0 else [])


def test_a_kind_without_messages_for_a_period_is_forgotten():
    throttle = Throttle(10.0)
    throttle.is_first("a", 0.0)
    assert list(throttle.summaries(10.0)) == []
    assert not throttle._kinds
    assert throttle.is_first("a", 11.0)
