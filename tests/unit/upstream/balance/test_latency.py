"""The average time to answer: exact, with the draws and the clock given."""

import pytest

from gproxy.config.types import Seconds


def timing(some, name):
    return some.upstream.rotation.policy.timing(some[name])


def latency(group, words="a,b,c"):
    found = group(words, balance="latency")
    for name in "abc"[: len(found.upstream.backends)]:
        timing(found, name).average, timing(found, name).measured_at = 0.1, found.clock.now
    return found


def test_latency_takes_the_quicker_of_the_two(group):
    abc = latency(group)
    timing(abc, "c").average = 0.05
    abc.script.draws = [0.4, 0.9]  # b and c
    assert abc.pick() == "c"
    timing(abc, "a").average = 0.01
    abc.script.draws = [0.4, 0.9]  # the quickest is not among them
    assert abc.pick() == "c"


def test_latency_counts_who_waits_there_and_the_weight(group):
    ab = latency(group, "a,b")
    timing(ab, "b").average, ab["b"].active = 0.05, 2  # 0.15 s against 0.1 s
    ab.script.draws = [0.9, 0.1]
    assert ab.pick() == "a"
    ab = latency(group, "a,b weight=2")
    timing(ab, "b").average, ab["b"].active = 0.05, 2  # 0.075 s for its weight
    ab.script.draws = [0.1, 0.9]
    assert ab.pick() == "b"


def test_a_peak_counts_at_once_and_fades_by_the_decay_constant(group):
    abc = latency(group)
    b = timing(abc, "b")
    b.observe(0.8)
    assert b.average == 0.8
    abc.clock.now += 10
    b.observe(0.1)
    assert b.average == pytest.approx(0.8 / 2.718281828 + 0.1 * (1 - 1 / 2.718281828))


def test_without_answers_the_cost_fades_so_that_it_is_asked_again(group):
    ab = latency(group, "a,b")
    a = timing(ab, "a")
    a.average = 0.8
    costs = [a.cost(ab.clock.now)]
    ab.clock.now += 10
    costs.append(a.cost(ab.clock.now))
    assert costs[1] == pytest.approx(costs[0] / 2.718281828)


def test_backups_fade_by_the_same_constant(group):
    some = group("a,b backup,c backup", balance="latency", latency_decay=Seconds(20))
    some.script.draws = [0.4, 0.9]
    assert some.pick(tried="a") in "bc"
    b = timing(some, "b")
    b.observe(0.8)
    cost = b.cost(some.clock.now)
    some.clock.now += 20
    assert b.cost(some.clock.now) == pytest.approx(cost / 2.718281828)


def test_of_an_unknown_backend_one_request_finds_out(group):
    ab = group("a,b", balance="latency")
    timing(ab, "b").average, timing(ab, "b").measured_at = 0.1, ab.clock.now
    ab.script.draws = [0.9, 0.1]
    assert ab.pick() == "a"
    ab["a"].active = 1
    ab.script.draws = [0.9, 0.1]
    assert ab.pick() == "b"


def test_an_exchange_is_timed_until_the_head_and_a_quick_failure_is_no_sign_of_speed(group):
    abc = latency(group)
    b = timing(abc, "b")

    def exchange(seconds, answered=True):
        abc.clock.now += seconds
        abc["b"].observer(seconds, answered)

    exchange(0.3)
    assert b.average == pytest.approx(0.3)
    abc.clock.now += 5
    exchange(0.001, answered=False)
    assert b.average == pytest.approx(0.3)
    exchange(2.0, answered=False)
    assert b.average == pytest.approx(2.0)
