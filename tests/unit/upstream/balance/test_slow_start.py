"""A backend that came back gets its share little by little: exact, with the clock given."""

import math
import random
from collections import Counter

import pytest


def returned(group, words="a,b,c", balance="round_robin", **options):
    found = group(words, balance=balance, slow_start=100, **options)
    found.lose("b")
    found.clock.now += 50
    found.regain("b")
    return found


def share(group, count, name="b", lease=False):
    found = Counter(group.pick() for _ in range(count))
    return found[name] / count


def test_never_at_the_start(group):
    assert group("a,b,c", slow_start=100).picks(6) == "abcabc"


@pytest.mark.parametrize(("elapsed", "expected"), [(0, 0.01), (1, 0.01), (10, 0.1), (50, 0.5), (90, 0.9)])
@pytest.mark.parametrize("balance", ["round_robin", "weighted", "least_conn"])
def test_the_share_grows_with_time_exactly(group, balance, elapsed, expected):
    """A share s of one weight beside two others is s / (s + 2) of all."""
    abc = returned(group, balance=balance)
    abc.clock.now += elapsed
    assert share(abc, 9000) == pytest.approx(expected / (expected + 2), abs=0.0003)


@pytest.mark.parametrize("balance", ["random", "p2c", "latency"])
def test_also_by_chance(group, balance):
    abc = returned(group, balance=balance)
    abc.upstream.rotation.policy._random = random.Random(3).random
    abc.clock.now += 40
    assert share(abc, 9000) == pytest.approx(0.4 / 2.4, abs=0.02)


def test_the_others_share_what_it_does_not_get_evenly(group):
    abc = returned(group)
    abc.clock.now += 20
    found = Counter(abc.picks(2200))
    assert found == {"a": pytest.approx(1000, abs=1), "b": pytest.approx(200, abs=1), "c": pytest.approx(1000, abs=1)}


def test_weights_hold_meanwhile(group):
    abc = returned(group, "a weight=2,b weight=4,c weight=2")
    abc.clock.now += 50
    assert [count // 10 for count in Counter(abc.picks(606)).values()] == [20, 20, 20]


def test_afterwards_all_is_as_before_and_costs_nothing(group):
    abc = returned(group)
    abc.clock.now += 101
    assert Counter(abc.picks(9)) == {"a": 3, "b": 3, "c": 3}
    assert not abc.upstream.rotation._needs_confirmation
    assert abc.upstream.rotation._next_change is None


def test_all_that_came_back_together_share_evenly(group):
    ab = group("a,b", slow_start=100)
    ab.lose("a", "b")
    ab.regain("a", "b")
    assert sorted(ab.picks(100)) == sorted("ab" * 50)


def test_a_backend_restored_earlier_gets_more(group):
    ab = group("a,b", slow_start=100)
    ab.lose("a", "b")
    ab.regain("a")
    ab.clock.now += 60
    ab.regain("b")
    ab.clock.now += 20  # 80 % and 20 %
    assert share(ab, 1000) == pytest.approx(0.2, abs=0.002)


def test_going_and_coming_again_starts_over(group):
    abc = returned(group)
    abc.clock.now += 90
    abc.lose("b")
    abc.regain("b")
    assert share(abc, 3000) == pytest.approx(0.01 / 2.01, abs=0.001)


def test_after_an_ejection_and_its_trial_too(group):
    abc = group("a,b,c", slow_start=100)
    abc["b"].health.eject(abc.clock.now + 5, "because")
    abc.upstream.rotation.refresh()
    assert "b" not in abc.picks(10)
    abc.clock.now += 6
    assert abc.picks(10).count("b") == 1
    assert abc["b"].returned_at == -math.inf
    abc.upstream.passive.restore(abc["b"])
    assert abc["b"].returned_at == abc.clock.now
    abc.clock.now += 50
    assert share(abc, 2500) == pytest.approx(0.2, abs=0.001)


def test_it_is_no_reason_to_fail(group):
    abc = returned(group)
    assert abc.pick(tried="ac") == "b"


def test_with_limits_besides(group):
    abc = returned(group, "a max_connections=1,b,c")
    abc["a"].active = 1
    abc.clock.now += 50
    assert set(abc.picks(50)) == {"b", "c"}


def test_one_that_was_never_healthy_before_does_not_come_back(group):
    abc = group("a,b,c", slow_start=100)
    abc["b"]._was_healthy = None  # as if it had started unknown
    abc["b"].health.mark_probe(True)
    abc.upstream.rotation.refresh()
    assert abc.picks(3) == "abc"


def test_what_it_could_not_take_it_does_not_get_later_in_a_burst(group):
    abc = returned(group, "a max_connections=9,b max_connections=1,c", balance="least_conn")
    abc.clock.now += 50
    abc["b"].active = 1
    assert "b" not in abc.picks(500)
    abc["b"].active, abc["a"].active, abc["c"].active = 0, 5, 5
    assert 2 <= abc.picks(10).count("b") <= 4
