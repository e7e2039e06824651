"""The heap of least_conn against its plain definition."""

import random


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
            there = {b.name[0] for b in some.upstream.rotation._candidates}
        some[name].active = max(0, some[name].active + rng.choice((-1, 1)))
        assert some[some.pick()].active == min(some[one].active for one in there)
        assert some[some.pick(tried="ab")].active == min(
            b.active for b in some.upstream.rotation._available([some["a"], some["b"]])
        )
    assert len(some.upstream.rotation.policy._heap) < 200


def test_what_least_conn_remembers_is_bounded(group):
    abc = group("a,b,c", balance="least_conn")
    for _ in range(5000):
        abc["b"].active += 1
        abc["b"].active -= 1
    assert len(abc.upstream.rotation.policy._heap) < 100
    assert abc.pick() == "a"
