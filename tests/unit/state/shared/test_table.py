"""Entries that several processes share: exact sums, one size, and nothing lost but the change of a killed process."""

import os
import random
import signal
import time

import gevent
import pytest

from gproxy.state.shared import exclusive_mutex
from gproxy.state.shared.memory import SharedState
from gproxy.state.shared.table import SharedEntries
from gproxy.state.store import StoreUnavailableError
from gproxy.state.table import Table, pack
from unit.state.processes import Child, together

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def opened(state, max_keys=100, name="t"):
    return SharedEntries.open(SharedState(state.fd), name, max_keys, time.monotonic, gevent.sleep)


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
    """Fail unless each slot that was ever used is in one chain and in the ring, by its age, or free."""
    linked = [slot for head in range(entries._count) for slot in entries._chain(head)]
    free, number = [], entries._words[4]
    while number:
        free.append(number - 1)
        number = entries._nexts[number - 1]
    assert sorted(linked + free) == [*range(entries._words[3])]
    ages = {slot: age for slot, age in enumerate(entries._ages.tolist()) if age}
    assert sorted(linked) == [*ages]
    assert entries._words[2] == len(linked) <= entries._count - 1
    ring, number = [], entries._newers[0]
    while number:
        assert entries._newers[entries._olders[number]] == number
        ring.append(number - 1)
        number = entries._newers[number]
    assert ring == sorted(ages, key=ages.get)


def test_a_full_table_drops_its_oldest_at_once(state):
    """Whatever its size: no search, which would block all requests meanwhile."""
    entries = opened(state, 100_000)
    value = pack(1)
    for number in range(100_000):
        entries.set(b"%d" % number, value, 3600.0)
    longest = 0.0
    for number in range(200):
        began = time.thread_time()
        entries.set(b"new %d" % number, value, 3600.0)
        longest = max(longest, time.thread_time() - began)
    assert entries.evicted == 200
    assert longest < 0.01


UNAVAILABLE = "a worker that does not run is in the middle of a change"


def stop_while_changing(entries):
    """Stop this process as by a debugger, in the middle of a change."""
    link = entries._link

    def stopped(*args):
        os.kill(os.getpid(), signal.SIGSTOP)
        link(*args)

    entries._link = stopped
    entries.set(b"stopped", pack("value of the stopped"), 3600.0)


def test_a_stopped_holder_blocks_no_other_greenlet_and_damages_nothing(state, monkeypatch):
    monkeypatch.setattr(exclusive_mutex, "_MAX_WAIT", 0.3)
    entries = opened(state)
    entries.set(b"key", pack(1), 3600.0)
    child = Child(lambda: stop_while_changing(opened(state)))
    os.waitpid(child.pid, os.WUNTRACED)
    gaps = [0.0]

    def beat():
        while True:
            began = time.monotonic()
            gevent.sleep(0.001)
            gaps.append(time.monotonic() - began)

    beating = gevent.spawn(beat)
    try:
        waiting = [gevent.spawn(attempt, entries, b"%d" % number) for number in range(50)]
        began = time.monotonic()
        assert [one.get() for one in waiting] == [UNAVAILABLE] * 50
        assert time.monotonic() - began > 0.25
        began = time.monotonic()
        assert [attempt(entries, b"key") for _ in range(50)] == [UNAVAILABLE] * 50
        assert time.monotonic() - began < 0.2
    finally:
        os.kill(child.pid, signal.SIGCONT)
        beating.kill()
    assert child.wait() == 0
    assert max(gaps) < 0.2
    assert entries.get(b"stopped") == pack("value of the stopped")
    assert entries.get(b"key") == pack(1)
    assert all(entries.get(b"%d" % number) is None for number in range(50))
    audit(entries)


def attempt(entries, key):
    try:
        entries.set(key, pack("x" * 500), 3600.0)
    except StoreUnavailableError as error:
        return str(error)
    return "done"


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


def test_links_that_are_unfinished_are_made_anew_from_the_slots(state, caplog):
    entries = opened(state, 20)
    for number in range(20):
        entries.set(b"%d" % number, pack(number), 3600.0)
    entries._words[0] = 1
    for slot in range(21):
        entries._nexts[slot] = entries._heads[slot] = slot + 1
        entries._olders[slot] = entries._newers[slot] = 3
    assert [entries.get(b"%d" % number) for number in range(20)] == [pack(number) for number in range(20)]
    entries.set(b"new", pack(1), 3600.0)
    assert entries.get(b"new") == pack(1)
    assert len(caplog.records) == 1 and "table t: repaired" in caplog.text
    assert entries.get(b"0") is None
    audit(entries)
