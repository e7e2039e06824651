import os
import random
import signal
import time
from itertools import count

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.config.types import Rate, Seconds
from gproxy.state.rate_limit.handover import HandoverLimiter
from gproxy.state.rate_limit.limiter import STEPS, MemoryLimiter, Verdict
from gproxy.state.rate_limit.shared_limiter import SharedLimiter
from gproxy.state.rate_limit.shared_table import merged
from gproxy.state.shared.memory import SharedState
from gproxy.testing import Clock
from unit.state.processes import Child, together

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")

STATE = SharedState.create()
names = map(str, count())

windows = st.sampled_from([Seconds(1.0), Seconds(15.0), Seconds(60.0)])
rates = st.builds(Rate, st.integers(1, 100), windows)
gaps = st.one_of(st.integers(0, 40), st.integers(0, 70 * 1024)).map(lambda ticks: ticks / 1024)
takes = st.lists(st.tuples(gaps, st.sampled_from("abc")), max_size=200)
HUNDRED = Rate.parse("100/minute")


@settings(deadline=None)
@given(rate=rates, takes=takes)
def test_it_says_what_a_single_process_would_say(rate, takes):
    clock = Clock(0.0)
    memory, shared = MemoryLimiter(10, clock), SharedLimiter(STATE, next(names), 10, clock)
    for gap, key in takes:
        clock.advance(gap)
        assert memory.take(key, rate) == shared.take(key, rate)


@settings(deadline=None)
@given(rate=rates, takes=takes, moves=st.lists(st.integers(0, 20), max_size=8))
def test_moving_to_and_fro_changes_nothing(rate, takes, moves):
    clock = Clock(0.0)
    memory, moving = MemoryLimiter(10, clock), HandoverLimiter(next(names), 10, clock)
    state = None
    for number, (gap, key) in enumerate(takes):
        if number in moves:
            (moving.share if state is None else moving.unshare)(STATE)
            state = STATE if state is None else None
        clock.advance(gap)
        assert memory.take(key, rate) == moving.take(key, rate)


@settings(deadline=None)
@given(takes=takes, workers=st.lists(st.integers(0, 3), min_size=200, max_size=200))
def test_all_workers_give_the_same_verdict(takes, workers):
    clock, name = Clock(0.0), next(names)
    memory, several = MemoryLimiter(10, clock), [SharedLimiter(STATE, name, 10, clock) for _ in range(4)]
    for (gap, key), worker in zip(takes, workers, strict=False):
        clock.advance(gap)
        assert memory.take(key, HUNDRED) == several[worker].take(key, HUNDRED)


def test_four_processes_admit_the_limit_and_not_one_more(state):
    admitted = state.area("admitted", 64)

    def take(number):
        limiter = SharedLimiter(SharedState(state.fd), "exact", 1000)
        for key in range(500):
            limit = Rate(100, Seconds(3600.0))
            admitted.words[number] += sum(limiter.take(str(key), limit).admitted for _ in range(100))

    together(4, take)
    assert sum(admitted.words) == 500 * 100


def test_four_processes_and_many_clients(state):
    admitted = state.area("admitted", 64)
    limit = Rate.parse("10/hour")

    def take(number):
        limiter = SharedLimiter(SharedState(state.fd), "many", 10_000)
        keys = [f"10.0.{number % 3}.{number}" for number in range(500)] * 8
        random.Random(number).shuffle(keys)
        admitted.words[number] = sum(limiter.take(key, limit).admitted for key in keys)

    together(4, take)
    assert sum(admitted.words) == 500 * 10


def test_workers_killed_in_the_middle_leave_whole_buckets_and_no_lock(state):
    """Two go on to the end while others are killed at any moment."""
    admitted, stop = state.area("admitted", 64), state.area("stop", 64)
    hourly, short = Rate(10_000_000, Seconds(1e6)), Rate(1_000_000, Seconds(0.3))

    def take(number):
        limiter = SharedLimiter(SharedState(state.fd), "kills", 64)
        while not stop.words[0]:
            admitted.words[number] += limiter.take("a", hourly).admitted
            limiter.take("b", short)

    lasting = [Child(take, number) for number in range(2)]
    for number in range(100):
        child = Child(take, 2)
        time.sleep(0.001 * (number % 7))
        assert child.kill() == -signal.SIGKILL
    stop.words[0] = 1
    assert [child.wait() for child in lasting] == [0, 0]
    began = time.monotonic()
    limiter = SharedLimiter(state, "kills", 64)
    counted = hourly.limit - limiter.take("a", hourly).remaining - 1
    assert 0 <= counted - sum(admitted.words) <= 100  # what the killed had stored and could not tell any more
    assert counted > 10_000
    limiter.take("b", short)
    assert time.monotonic() - began < 0.9  # no lock had to be waited for
    time.sleep(0.31)
    assert limiter.take("b", short) == Verdict(True, short.limit - 1, 0.0, short.window)


def test_a_torn_slot_is_a_valid_one():
    """Whichever of the stores that admit a request came last, what counts is right to one request."""
    clock = Clock(0.0)
    limiter = SharedLimiter(STATE, next(names), 1, clock)
    rate = Rate(5, Seconds(60.0))
    limiter.take("a", rate)
    area = limiter._of(rate.window)._area
    before = bytes(area.data)
    clock.advance(10)
    limiter.take("a", rate)
    after = bytes(area.data)
    changed = [at for at in range(0, len(before), 8) if before[at : at + 8] != after[at : at + 8]]
    order = [at for at in changed if at != 8] + [8]  # the state, behind the one tag there is, comes last
    for killed_after in range(len(order) + 1):
        area.data[:] = before
        for at in order[:killed_after]:
            area.data[at : at + 8] = after[at : at + 8]
        remaining = limiter.take("a", rate).remaining
        assert remaining == (3 if killed_after <= len(changed) - 1 else 2)


def test_memory_is_bounded_and_the_longest_away_goes(state):
    clock = Clock()
    limiter = SharedLimiter(state, "small", 1000, clock)
    for number in range(50_000):
        clock.advance(0.001)
        limiter.take(str(number), HUNDRED)
    assert 48_900 <= limiter.evicted < 50_000
    assert os.fstat(state.fd).st_blocks * 512 < 2_000_000
    recent = [limiter.take(str(number), HUNDRED).remaining for number in range(49_700, 50_000)]
    assert recent.count(98) > 290


def test_a_client_that_another_process_has_evicted_begins_anew(state):
    """And leaves the client that has its place alone."""
    clock = Clock(0.0)
    one, other = [SharedLimiter(state, "evicted", 2, clock) for _ in range(2)]
    rate = Rate.parse("2/minute")
    assert [one.take("a", rate).admitted for _ in range(3)] == [True, True, False]
    clock.advance(1.0)
    assert [other.take(key, rate).admitted for key in "bcbc"] == [True] * 4
    assert other.evicted == 1
    assert [other.take(key, rate).admitted for key in "bc"] == [False] * 2
    assert [one.take("a", rate).admitted for _ in range(3)] == [True, True, False]


def test_a_client_without_counts_is_replaced_first_and_is_no_eviction(state):
    clock = Clock()
    limiter = SharedLimiter(state, "small", 2, clock)
    for key in "abcdefgh":
        limiter.take(key, HUNDRED)
        clock.advance(61)
    assert limiter.evicted == 0


def test_a_changed_number_of_clients_keeps_the_table_in_use(state):
    clock = Clock()
    one = SharedLimiter(state, "changed", 100, clock)
    one.take("a", HUNDRED)
    other = SharedLimiter(state, "changed", 100_000, clock)
    assert other.take("a", HUNDRED).remaining == 98


def test_without_room_each_counts_for_itself(state, monkeypatch):
    monkeypatch.setattr("gproxy.state.shared.memory._SIZE", 300_000)
    limiter = HandoverLimiter("large", 100_000)
    limiter.take("a", HUNDRED)
    limiter.share(state)
    assert limiter.take("a", HUNDRED).remaining == 99
    limiter.unshare(state)
    assert limiter.take("a", HUNDRED).admitted


def test_what_one_has_counted_alone_all_see(state):
    clock = Clock()
    old, new = (HandoverLimiter("moved", 100, clock) for _ in range(2))
    for _ in range(30):
        old.take("a", HUNDRED)
        clock.advance(0.5)
    old.share(state)
    new.share(state)
    assert new.take("a", HUNDRED).remaining == 69
    assert old.take("a", HUNDRED).remaining == 68
    assert old.take("b", HUNDRED).remaining == 99
    new.unshare(state)
    assert new.take("a", HUNDRED).remaining == 67
    assert new.take("b", HUNDRED).remaining == 98
    assert new.take("c", HUNDRED).remaining == 99
    new.share(state)  # a second reload, within the same minute
    newest = HandoverLimiter("moved", 100, clock)
    newest.share(state)
    assert [newest.take(key, HUNDRED).remaining for key in "abcd"] == [66, 97, 98, 99]
    clock.advance(60)
    assert newest.take("a", HUNDRED) == Verdict(True, 99, 0.0, 60.0)


def test_a_request_while_buckets_move_is_counted_once(state):
    clock, rate = Clock(), Rate.parse("10/minute")
    limiter = HandoverLimiter("moving", 10_000, clock)
    keys = [str(number) for number in range(2000)]
    for key in keys:
        limiter.take(key, rate)
    moving = gevent.spawn(limiter.share, state)
    gevent.sleep(0)
    assert not moving.dead
    assert [limiter.take(key, rate).remaining for key in (keys[0], keys[-1], "new")] == [8, 8, 9]
    moving.join()
    other = HandoverLimiter("moving", 10_000, clock)
    other.share(state)
    assert [other.take(key, rate).remaining for key in (*keys, "new")] == [7, *[8] * 1998, 7, 8]


def test_after_a_window_alone_nothing_is_asked_of_the_memory(state):
    clock = Clock()
    limiter = HandoverLimiter("moved", 100, clock)
    limiter.share(state)
    limiter.take("a", HUNDRED)
    limiter.unshare(state)
    limiter.take("b", HUNDRED)
    os.ftruncate(state.fd, 0)  # to touch it would be a SIGBUS
    clock.advance(60)
    assert limiter.take("a", HUNDRED).remaining == 99
    os.ftruncate(state.fd, 1024 * 1024 * 1024)


def test_evictions_are_counted_on_across_moves(state):
    limiter = HandoverLimiter("moved", 1, Clock())
    for move in (lambda _: None, limiter.share, limiter.unshare):
        move(state)
        for key in "abc":
            limiter.take(key, HUNDRED)
    assert limiter.evicted >= 6


def test_merging_keeps_every_admission_and_at_most_61_entries():
    some = [[float(at), float(at), 1] for at in range(0, 80, 2)]
    others = [[float(at), float(at), 2] for at in range(1, 80, 2)]
    entries = merged(some, others)
    assert len(entries) == STEPS + 1
    assert sum(entry[2] for entry in entries) == 40 + 80
    assert entries[0][:2] == [0.0, 19.0]
    assert [entry[1] for entry in entries] == sorted(entry[1] for entry in entries)
