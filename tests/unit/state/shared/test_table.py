"""Entries that several processes share: exact sums, one size, and nothing lost but the change of a killed process."""

import random
import time

import pytest

from gproxy.state.shared.memory import SharedState
from gproxy.state.shared.table import SharedEntries
from gproxy.state.table import Table, pack
from unit.state.processes import Child, together

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def opened(state, max_keys=100, name="t"):
    return SharedEntries.open(SharedState(state.fd), name, max_keys, time.monotonic)


def table(state, max_keys=100, name="t", ttl=3600.0):
    return Table(name, opened(state, max_keys, name), ttl)


def test_sums_of_several_processes_are_exact(state):
    def count(number):
        own = table(state)
        for _ in range(2000):
            own.incr("all")
            own.incr(f"of {number}", 0.5)

    together(4, count)
    assert table(state).get("all") == 8000
    assert [table(state).get(f"of {number}") for number in range(4)] == [1000.0] * 4


def test_one_process_of_several_adds(state):
    winners = SharedState(state.fd).area("winners", 64 * 8)

    def add(number):
        own = table(state)
        for turn in range(500):
            if own.add(f"turn {turn % 50}", number):
                winners.words[number] += 1
            if turn % 50 == 49:
                time.sleep(0)

    together(4, add)
    assert sum(winners.words.tolist()) == 50


def test_many_keys_in_a_small_table_leave_the_newest(state):
    entries = opened(state, 1000)
    for number in range(5000):
        entries.set(b"%d" % number, pack(number), 3600.0)
    assert entries.evicted == 4000
    assert [number for number in range(5000) if entries.get(b"%d" % number) is not None] == [*range(4000, 5000)]


def test_evictions_in_several_processes_leave_as_many_as_fit(state):
    def fill(number):
        own = table(state, 200)
        for turn in range(1000):
            own.set(f"{number} {turn}", turn)
            if turn % 3 == 0:
                own.pop(f"{number} {turn - 1}")

    together(4, fill)
    found = table(state, 200)
    present = [1 for number in range(4) for turn in range(1000) if found.get(f"{number} {turn}") is not None]
    assert 190 <= len(present) <= 200


def test_a_table_in_use_keeps_its_size(state):
    one = opened(state, 2)
    other = opened(state, 50)
    for number in range(5):
        other.set(b"%d" % number, pack(number), 3600.0)
    assert [one.get(b"%d" % number) is not None for number in range(5)] == [False, False, False, True, True]


def audit(entries):
    """Fail unless each slot that was ever used is in one chain, or free."""
    linked = [slot for head in range(entries._count) for slot in entries._chain(head)]
    free, number = [], entries._words[4]
    while number:
        free.append(number - 1)
        number = entries._nexts[number - 1]
    assert sorted(linked + free) == [*range(entries._words[3])]
    assert sorted(linked) == [slot for slot, age in enumerate(entries._ages.tolist()) if age]
    assert entries._words[2] == len(linked) <= entries._count - 1


def test_a_killed_process_leaves_a_sound_table(state):
    """Killed in the middle of anything: each value is whole, and at most the changes of the killed are missing."""
    dice = random.Random(5)
    text = {length: "x" * length for length in (1, 100, 900)}

    def hammer():
        own = table(state, 50)
        dice = random.Random()
        while True:
            key = f"key {dice.randrange(80)}"
            own.set(key, [key, text[dice.choice([*text])]])
            own.incr("count")
            own.pop(f"key {dice.randrange(80)}")

    entries = opened(state, 50)
    checked = Table("t", entries, 3600.0)
    for _ in range(30):
        children = [Child(hammer) for _ in range(2)]
        time.sleep(dice.random() / 20)
        for child in children:
            child.kill()
        for number in range(80):
            found = checked.get(f"key {number}")
            assert found is None or found[0] == f"key {number}"
        checked.set("after", 1)
        assert checked.get("after") == 1
        assert checked.incr("count") > 0
        audit(entries)
    for number in range(60):
        checked.set(f"last {number}", number)
    assert [checked.get(f"last {number}") for number in range(10, 60)] == [*range(10, 60)]


@pytest.mark.parametrize("damage", ["unfinished", "circle", "wild", "leaked"])
def test_damaged_chains_are_made_anew_from_the_slots(state, damage, caplog):
    entries = opened(state, 20)
    for number in range(20):
        entries.set(b"%d" % number, pack(number), 3600.0)
    match damage:
        case "unfinished":
            entries._words[0] = 1
            entries._heads[:] = memoryview(bytes(4 * 21)).cast("I")
        case "circle":
            for slot in range(21):
                entries._nexts[slot] = slot + 1
                entries._heads[slot] = slot + 1
        case "wild":
            for slot in range(21):
                entries._heads[slot] = 10_000
        case "leaked":
            entries._words[2] = 0
            entries._words[3] = 21
            entries._words[4] = 0
    assert [entries.get(b"%d" % number) for number in range(20)] == [pack(number) for number in range(20)]
    entries.set(b"new", pack(1), 3600.0)
    assert entries.get(b"new") == pack(1)
    assert len(caplog.records) == 1 and "table t: repaired" in caplog.text
    assert entries.get(b"0") is None or damage == "leaked"
