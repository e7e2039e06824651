"""Changes of a backend by an operator, in place of what the file says."""

import math

import pytest

from gproxy.upstream.override import BackendOverride


def change(group, name, **fields):
    return group.upstream.change(f"{name}:80", fields or None)


def test_a_drained_backend_gets_no_new_client_until_the_change_ends(group):
    some = group("a,b,c")
    assert change(some, "b", state="drain")["state"] == "healthy"
    assert set(some.picks(6)) == {"a", "c"}
    assert some.upstream.snapshot()[1]["state"] == "draining"
    change(some, "b")
    assert set(some.picks(6)) == {"a", "b", "c"}
    assert "override" not in some.upstream.snapshot()[1]


def test_up_ends_what_the_file_says(group):
    some = group("a,b down,c drain")
    assert set(some.picks(6)) == {"a"}
    change(some, "b", state="up")
    change(some, "c", state="up")
    assert set(some.picks(6)) == {"a", "b", "c"}
    change(some, "b")
    assert set(some.picks(6)) == {"a", "c"}


def test_a_weight_changes_the_shares_from_the_next_pick_on(group):
    some = group("a,b")
    assert change(some, "a", weight=3)["weight"] == 1
    picks = some.picks(8)
    assert (picks.count("a"), picks.count("b")) == (6, 2)
    assert change(some, "a", weight=0)["weight"] == 3
    assert set(some.picks(4)) == {"b"}


def test_a_change_shows_who_made_it_and_until_when(group):
    some = group("a,b")
    change(some, "a", state="down", until=2000.0, author="uid 0 (pid 1)", since=1000.0)
    facts = some.upstream.snapshot()[0]
    assert facts["state"] == "down"
    assert facts["override"] == {
        "state": "down", "weight": None, "until": 2000.0, "author": "uid 0 (pid 1)", "since": 1000.0,
    }  # fmt: skip


def test_a_change_ends_at_its_time(group):
    some = group("a,b")
    some.upstream.runtime.clock = lambda: 1999.9
    change(some, "a", state="down", until=2000.0)
    some.upstream._end_overrides()
    assert set(some.picks(4)) == {"b"}
    some.upstream.runtime.clock = lambda: 2000.0
    some.upstream._end_overrides()
    assert set(some.picks(4)) == {"a", "b"}


def test_a_backend_that_dns_brings_back_keeps_its_change(group):
    some = group("a,b")
    change(some, "a", state="drain")
    a, b = some.upstream.backends
    some.upstream.replace([b])
    some.upstream.replace([a, b])
    assert set(some.picks(4)) == {"b"}


def test_an_unknown_backend_is_no_change(group):
    assert change(group("a"), "z", state="drain") is None


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"state": "gone"}, "state: expected drain, up, down; found 'gone'"),
        ({"weight": -1}, "weight: expected a number from 0"),
        ({}, "expected state or weight"),
    ],
)
def test_fields_that_are_no_change(fields, problem):
    with pytest.raises(ValueError, match=problem):
        BackendOverride.of(fields)


def test_a_change_without_an_end_lasts():
    override = BackendOverride.of({"state": "drain"})
    assert override.until == math.inf
    assert BackendOverride.of(override.describe()) == override
