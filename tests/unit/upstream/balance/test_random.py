"""Policies that draw, and policies that look at load and latency: exact, with the draws given."""

import random
from collections import Counter

import pytest

from gproxy.config.types import BackendURL, Seconds
from gproxy.upstream.backend import Backend
from gproxy.upstream.balance.random import Lottery


def test_random_draws_each_backend_from_a_part_as_long_as_its_weight(group):
    abc = group("a weight=2,b,c", balance="random")
    for draw, expected in ((0.0, "a"), (0.49, "a"), (0.5, "b"), (0.74, "b"), (0.75, "c"), (0.999, "c")):
        abc.script.draws = [draw]
        assert abc.pick() == expected, draw


def test_two_drawn_are_never_the_same_and_fair():
    urls = (BackendURL("http", name, 80, weight=weight) for name, weight in (("a", 1), ("b", 2), ("c", 3)))
    backends = [Backend(url, keepalive=1, connect_timeout=1.0) for url in urls]
    lottery, rng = Lottery(backends), random.Random(1)
    pairs = Counter(tuple(b.name[0] for b in lottery.two(rng.random)) for _ in range(60_000))
    assert all(one != other for one, other in pairs)
    # c first (1/2), then of a and b the one of weight 2 (2/3); and so on
    for pair, share in {"cb": 1 / 3, "ca": 1 / 6, "bc": 1 / 4, "ba": 1 / 12, "ac": 1 / 10, "ab": 1 / 15}.items():
        assert pairs[tuple(pair)] / 60_000 == pytest.approx(share, abs=0.01), pair


def test_every_pair_of_draws_gives_two(group):
    abc = group("a,b,c", balance="p2c")
    lottery = Lottery(abc.upstream.backends)
    edges = [0.0, 1 / 3, 0.5, 2 / 3, 1 - 2**-53]
    for one in edges:
        for other in edges:
            first, second = lottery.two(iter([one, other]).__next__)
            assert first is not second


def test_p2c_takes_the_less_loaded_of_the_two_and_of_equals_the_first(group):
    abc = group("a,b,c", balance="p2c")
    b_and_c = [0.4, 0.9]
    for active_b, active_c, expected in ((0, 0, "b"), (1, 0, "c"), (0, 1, "b"), (3, 3, "b"), (4, 3, "c")):
        abc["b"].active, abc["c"].active = active_b, active_c
        abc.script.draws = [*b_and_c]
        assert abc.pick() == expected
    assert abc["a"].active == 0  # the least loaded of all was not among the two


def test_p2c_reads_load_by_weight(group):
    ab = group("a weight=3,b", balance="p2c")
    ab["a"].active, ab["b"].active = 2, 1
    ab.script.draws = [0.9, 0.1]
    assert ab.pick() == "a"
    ab["a"].active = 4
    ab.script.draws = [0.1, 0.9]
    assert ab.pick() == "b"


def test_p2c_of_one_draws_nothing(group):
    assert group("a", balance="p2c").pick() == "a"
    assert group("a", balance="latency").pick() == "a"


def test_first_is_the_first_that_is_there(group):
    abc = group("a,b,c", balance="first")
    assert abc.picks(3) == "aaa"
    abc.lose("a")
    assert abc.picks(2) == "bb"


def test_least_conn_takes_the_least_loaded(group):
    abc = group("a,b,c", balance="least_conn")
    abc["a"].active, abc["b"].active, abc["c"].active = 3, 1, 2
    assert abc.pick() == "b"
    abc["b"].active = 4
    assert abc.pick() == "c"
    abc["a"].active = 0
    assert abc.pick() == "a"


def test_least_conn_goes_in_turn_among_equals(group):
    abc = group("a,b,c", balance="least_conn")
    found = ""
    for _ in range(6):
        found += (name := abc.pick())
        abc[name].active += 1
        abc[name].active -= 1
    assert found == "abcabc"


def test_least_conn_fills_by_weight(group):
    ab = group("a weight=3,b", balance="least_conn")
    for _ in range(40):
        ab[ab.pick()].active += 1
    assert (ab["a"].active, ab["b"].active) == (30, 10)


def test_least_conn_is_right_after_any_history(group):
    """Against the plain definition, through comings, goings, leases and releases; and its heap stays small."""
    letters = "abcdefgh"
    some = group(",".join(letters), balance="least_conn")
    rng = random.Random(7)
    there = set(letters)
    for _ in range(5000):
        name = rng.choice(letters)
        if rng.random() < 0.02:
            (some.lose if name in there and len(there) > 1 else some.regain)(name)
            there = {b.name[0] for b in some.upstream._candidates}
        some[name].active = max(0, some[name].active + rng.choice((-1, 1)))
        assert some[some.pick()].active == min(some[one].active for one in there)
        assert some[some.pick(tried="ab")].active == min(
            b.active for b in some.upstream._available([some["a"], some["b"]])
        )
    assert len(some.upstream.balancer._heap) < 200


def test_what_least_conn_remembers_is_bounded(group):
    abc = group("a,b,c", balance="least_conn")
    for _ in range(5000):
        abc["b"].active += 1
        abc["b"].active -= 1
    assert len(abc.upstream.balancer._heap) < 100
    assert abc.pick() == "a"


def timing(some, name):
    return some.upstream.balancer.timing(some[name])


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


def test_latency_counts_active_attempts_and_the_weight(group):
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


def test_without_responses_the_cost_decays_so_that_the_backend_is_picked_again(group):
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
