"""The feed: bounded by the number of records, and by the bytes of long ones."""

from gproxy.runtime.feed import Feed


def kinds(records):
    return [kind for kind, _, _ in records]


def test_records_are_taken_in_their_order():
    made = Feed()
    for kind in "abc":
        made.put(kind, {})
    assert kinds(made.take(2)) == ["a", "b"]
    assert kinds(made.take(2)) == ["c"]
    assert made.take(2) == []


def test_beyond_the_bound_records_are_dropped_and_counted(monkeypatch):
    made = Feed()
    for _ in range(10_002):
        made.put("a", {})
    assert made.dropped == 2
    assert not made.put_long("b", {}, 1)
    assert made.dropped == 2, "who feeds long records counts them"


def test_long_records_have_a_bound_of_their_own_which_taking_makes_room_in():
    made, size = Feed(), 1024 * 1024
    added = [made.put_long("long", {}, size) for _ in range(20)]
    assert added == [True] * 16 + [False] * 4
    made.put("short", {})
    assert kinds(made.take(500)) == ["long"]
    assert made.put_long("long", {}, size)
    taken = [kind for _ in range(17) for kind in kinds(made.take(500))]
    assert taken == ["long"] * 15 + ["short", "long"]
    assert all(made.put_long("long", {}, size) for _ in range(16))


def test_a_batch_ends_before_it_gets_too_long():
    made = Feed()
    for _ in range(5):
        made.put_long("long", {}, 400_000)
    assert [len(made.take(500)) for _ in range(3)] == [2, 2, 1]
    made.put("a", {})
    made.put_long("b", {}, 9_000_000)
    made.put("c", {})
    assert [kinds(made.take(500)) for _ in range(3)] == [["a"], ["b"], ["c"]]
