"""Tables give back what was put into them, in one process and in the memory that several share."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.state.shared.memory import SharedState
from gproxy.state.shared.table import SharedEntries
from gproxy.state.table import MemoryEntries, Table
from gproxy.testing import Clock

STATE = SharedState.create()


def wiped(max_keys, clock):
    """Entries in the one memory of these tests, which mutexes outlive."""
    name = f"of {max_keys}"
    found = SharedEntries.open(STATE, name, max_keys, clock, clock.advance)
    found._area.wipe()
    return found


MAKERS = {"memory": MemoryEntries, "shared": wiped}


@pytest.fixture(params=MAKERS)
def make(request):
    def table(max_keys=3, ttl=60.0):
        clock = Clock()
        entries = MAKERS[request.param](max_keys, clock)
        return Table("t", entries, ttl), clock, entries

    return table


VALUES = [
    0, -1, 2**63 - 1, -(2**63), 1.5, -0.0, "", "wörter", "a\ud800b", b"", b"\x00\xff", True, None, [], {"a": [1, None]},
    "x" * 1024, b"x" * 1024,
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back_as_it_was(make, value):
    table, _, _ = make()
    table.set("key", value)
    found = table.get("key")
    assert found == value and type(found) is type(value)
    assert table.pop("key") == value
    assert table.get("key", "none") == "none" == table.pop("key", "none")


def test_json_is_a_copy(make):
    table, _, _ = make()
    table.set("key", value := {"a": 1})
    value["a"] = table.get("key")["a"] = 2
    assert table.get("key") == {"a": 1}


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("x" * 1025, "1025 bytes; expected at most 1024"),
        ("ü" * 513, "1026 bytes"),
        ([1] * 1000, "2001 bytes"),
        (2**63, "64 bits; expected at most 63 and a sign"),
        pytest.param(10**5000, "16610 bits; expected at most 63 and a sign", id="huge"),
        (float("nan"), "a finite number"),
        (float("inf"), "a finite number"),
        ([float("nan")], "not JSON compliant"),
        (object(), "not JSON serializable"),
    ],
)
def test_what_does_not_fit_is_rejected_and_changes_nothing(make, value, error):
    table, _, _ = make()
    table.set("key", 1)
    with pytest.raises((ValueError, TypeError), match=error):
        table.set("key", value)
    assert table.get("key") == 1


@pytest.mark.parametrize(("key", "error"), [("k" * 257, "257 bytes; expected at most 256"), (b"k", "expected a text")])
def test_a_key_is_a_text_of_at_most_256_bytes(make, key, error):
    table, _, _ = make()
    with pytest.raises((ValueError, TypeError), match=error):
        table.get(key)
    table.set("k" * 256, 1)
    assert table.get("k" * 256) == 1


def test_add_gives_a_value_only_to_a_key_without_one(make):
    table, clock, _ = make()
    assert table.add("key", 1) and not table.add("key", 2)
    assert table.get("key") == 1
    clock.advance(60)
    assert table.add("key", 3)


def test_incr_adds_numbers_of_both_kinds(make):
    table, _, _ = make()
    assert [table.incr("key"), table.incr("key", 5), table.incr("key", -10)] == [1, 6, -4]
    assert table.incr("key", 0.5) == -3.5 == table.get("key")
    assert table.incr("key", 1) == -2.5


def test_incr_rejects_other_values_and_too_large_sums(make):
    table, _, _ = make()
    table.set("key", "text")
    with pytest.raises(TypeError, match="'text'; expected a number"):
        table.incr("key")
    table.set("key", 2**63 - 1)
    with pytest.raises(ValueError, match="64 bits"):
        table.incr("key")
    assert table.get("key") == 2**63 - 1


@pytest.mark.parametrize("amount", ["1", b"1", True, None, [1]])
def test_incr_rejects_an_amount_that_is_no_number_for_a_new_key_too(make, amount):
    table, _, _ = make()
    table.set("key", 1)
    for key in ("key", "new"):
        with pytest.raises(TypeError, match="expected a number"):
            table.incr(key, amount)
    assert (table.get("key"), table.get("new")) == (1, None)


def test_an_entry_lives_from_its_last_set_and_incr_does_not_prolong_it(make):
    table, clock, _ = make()
    table.set("set", 1)
    table.incr("count")
    clock.advance(30)
    table.set("set", 2)
    assert table.incr("count") == 2
    table.incr("count", 0.5)
    clock.advance(30)
    assert table.get("set") == 2
    assert table.get("count") is None
    assert table.incr("count") == 1
    clock.advance(30)
    assert table.get("set") is None


def test_a_full_table_drops_the_oldest_and_counts_it(make):
    table, _, entries = make(max_keys=3)
    for key in "abc":
        table.set(key, key)
    table.set("a", "again")
    assert entries.evicted == 0
    table.add("d", "d")
    table.incr("e")
    assert [table.get(key) for key in "abcde"] == ["again", None, None, "d", 1]
    assert entries.evicted == 2


def test_an_entry_at_the_end_of_its_life_makes_room_uncounted(make):
    table, clock, entries = make(max_keys=2)
    table.set("a", 1)
    table.set("b", 1)
    clock.advance(60)
    table.set("c", 1)
    table.set("d", 1)
    assert (table.get("c"), table.get("d"), entries.evicted) == (1, 1, 0)


def test_a_key_that_left_makes_room(make):
    table, _, entries = make(max_keys=2)
    for number in range(100):
        table.set(str(number), number)
        assert table.pop(str(number)) == number
    table.set("a", 1)
    table.set("b", 1)
    assert entries.evicted == 0


KEYS = st.sampled_from("abcdefgh")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, st.sampled_from([0, 1.5, "text", b"bytes" * 100, [1, 2]])),
        st.tuples(st.just("add"), KEYS, st.integers(0, 9)),
        st.tuples(st.just("incr"), KEYS, st.sampled_from([1, -7, 0.25])),
        st.tuples(st.just("get"), KEYS),
        st.tuples(st.just("pop"), KEYS),
        st.tuples(st.just("advance"), st.integers(0, 20)),
    ),
    max_size=150,
)


def outcome(table, clock, step):
    name, *arguments = step
    try:
        return clock.advance(*arguments) if name == "advance" else getattr(table, name)(*arguments)
    except TypeError:
        return "no number"


@settings(deadline=None)
@given(STEPS, st.integers(1, 9))
def test_shared_memory_does_what_a_dict_does(steps, max_keys):
    clock = Clock()
    one, other = MemoryEntries(max_keys, clock), wiped(max_keys, clock)
    tables = Table("t", one, 30.0), Table("t", other, 30.0)
    for step in steps:
        if step[0] == "advance":
            clock.advance(step[1])
            continue
        assert outcome(tables[0], clock, step) == outcome(tables[1], clock, step)
    assert one.evicted == other.evicted
