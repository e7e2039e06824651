"""Round robin and weights: exact turns, whatever becomes of single requests."""

from collections import Counter

import pytest

from gproxy.config.types import BackendURL
from gproxy.http.request import request
from gproxy.upstream.balance.round_robin import RoundRobin, interleaved
from unit.upstream.backends import backend_of


def weighted(*weights):
    urls = (BackendURL("http", f"b{number}", 80, weight=weight) for number, weight in enumerate(weights))
    return [backend_of(url, keepalive=1, connect_timeout=1.0) for url in urls]


def test_in_exact_turn(group):
    assert group("a,b,c").picks(7) == "abcabca"


@pytest.mark.parametrize("balance", ["round_robin", "weighted"])
def test_weights_are_interleaved_as_smooth_weighted_round_robin_does(group, balance):
    assert group("a weight=5,b,c", balance=balance).picks(14) == "aabacaa" * 2


@pytest.mark.parametrize(
    ("words", "cycle"),
    [("a weight=3,b", "aaba"), ("a weight=2,b", "aba"), ("a weight=4,b weight=2,c weight=4", "acbac")],
)
def test_small_cycles(group, words, cycle):
    assert group(words).picks(len(cycle) * 2) == cycle * 2


def test_a_cycle_gives_each_backend_exactly_its_weight():
    backends = weighted(7, 3, 5, 1, 11)
    assert Counter(interleaved(backends)) == {backend: backend.weight for backend in backends}


def test_weights_with_a_common_divisor_make_a_short_cycle():
    assert len(interleaved(weighted(300, 100, 200))) == 6
    equal = weighted(700, 700)
    assert interleaved(equal) is equal


def test_huge_weights_keep_their_proportions_in_a_bounded_cycle():
    backends = weighted(999_999_999, 333_333_333, 1)
    found = Counter(interleaved(backends))
    assert sum(found.values()) <= 10_002
    assert found[backends[2]] == 1
    assert found[backends[0]] == pytest.approx(3 * found[backends[1]], abs=3)


def test_a_retry_takes_no_turn(group):
    abc = group("a,b,c")
    assert abc.pick() == "a"
    assert abc.pick(tried="a") in "bc"
    assert abc.picks(3) == "bca"
    assert abc.pick(tried="ab") == "c"
    assert abc.picks(3) == "bca"


def test_retries_go_round_among_those_that_are_left(group):
    abcd = group("a weight=9,b,c,d")
    assert Counter(abcd.pick(tried="a") for _ in range(9)) == {"b": 3, "c": 3, "d": 3}


def test_a_full_backend_loses_its_turn_and_the_next_one_gets_no_more(group):
    abc = group("a,b max_connections=1,c")
    abc["b"].active = 1
    assert abc.picks(8) == "acacacac"
    abc["b"].active = 0
    assert set(abc.picks(3)) == set("abc")


def test_a_weighted_turn_that_cannot_be_had_is_skipped(group):
    abc = group("a weight=5 max_connections=1,b,c")
    abc["a"].active = 1
    assert abc.picks(4) == "bcbc"


def test_turns_continue_where_they_were_when_a_backend_is_removed(group):
    abcd = group("a,b,c,d")
    assert abcd.picks(2) == "ab"
    abcd.lose("a")
    assert abcd.picks(3) == "dbc"


def test_the_turn_may_be_set_from_outside(group):
    abc = group("a,b,c")
    abc.upstream.rotation.policy.turn = 3_000_002
    assert abc.picks(3) == "cab"


def test_a_list_it_did_not_expect_and_shares_nothing_with_goes_in_turn_too():
    policy, others = RoundRobin(), weighted(1, 1)
    policy.set_candidates(weighted(1, 1, 1))
    assert {policy.pick(others, request()).name for _ in range(2)} == {"b0:80", "b1:80"}
