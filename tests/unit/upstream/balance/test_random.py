"""Policies that draw: exact, with the draws given."""

import random
from collections import Counter

import pytest

from gproxy.config.types import BackendURL
from gproxy.upstream.balance.random import Lottery
from unit.upstream.backends import backend_of


def test_random_draws_each_backend_from_a_part_as_long_as_its_weight(group):
    abc = group("a weight=2,b,c", balance="random")
    for draw, expected in ((0.0, "a"), (0.49, "a"), (0.5, "b"), (0.74, "b"), (0.75, "c"), (0.999, "c")):
        abc.script.draws = [draw]
        assert abc.pick() == expected, draw


def test_two_drawn_are_never_the_same_and_fair():
    urls = (BackendURL("http", name, 80, weight=weight) for name, weight in (("a", 1), ("b", 2), ("c", 3)))
    backends = [backend_of(url, keepalive=1, connect_timeout=1.0) for url in urls]
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
