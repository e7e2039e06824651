"""Requests under way: counted in one process and in several, through moves, kills and full tables."""

import os
import random
import signal
from itertools import count

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.state import concurrency
from gproxy.state.concurrency import ConcurrentRequests
from gproxy.state.shared.memory import SharedState
from unit.state.processes import Child, together

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")

STATE = SharedState.create()
names = map(str, count())


def alone(max_keys=100):
    return ConcurrentRequests(next(names), max_keys)


def shared(max_keys=100):
    made = ConcurrentRequests(next(names), max_keys)
    made.share(STATE)
    return made


both = pytest.mark.parametrize("make", [alone, shared])


@both
def test_so_many_at_the_same_time_and_another_after_one_has_ended(make):
    requests = make()
    first, second = requests.enter("a", 2), requests.enter("a", 2)
    assert requests.enter("a", 2) is None
    second()
    third = requests.enter("a", 2)
    assert requests.enter("a", 2) is None
    first()
    third()
    assert [bool(requests.enter("a", 2)) for _ in range(3)] == [True, True, False]


@both
def test_each_client_has_a_count(make):
    requests = make()
    assert [bool(requests.enter(key, 1)) for key in "abab"] == [True, True, False, False]


@both
def test_a_client_without_requests_is_forgotten(make):
    requests = make()
    for number in range(5000):
        requests.enter(str(number), 1)()
    assert requests._clients == {}
    assert requests.uncounted == 0


@both
def test_beyond_so_many_clients_requests_are_admitted_and_not_counted(make):
    requests = make(max_keys=2)
    kept = [requests.enter(key, 1) for key in "ab"]
    for _ in range(3):
        requests.enter("c", 1)()
    assert requests.uncounted == 3
    assert requests.enter("a", 1) is None
    kept[0]()
    assert requests.enter("c", 1) is not None
    assert requests.enter("c", 1) is None


@both
def test_a_changed_limit_holds_at_once(make):
    requests = make()
    for _ in range(3):
        requests.enter("a", 3)
    assert requests.enter("a", 2) is None
    assert requests.enter("a", 4) is not None


@settings(deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abc"), st.booleans()), max_size=100),
    moves=st.lists(st.integers(0, 100), max_size=6),
)
def test_moving_to_and_fro_changes_nothing(steps, moves):
    model, mover = alone(), alone()
    held, is_shared = [], False
    for number, (kind, key, oldest) in enumerate(steps):
        if number in moves:
            (mover.unshare if is_shared else mover.share)(STATE)
            is_shared = not is_shared
        if kind and held:
            for leave in held.pop(0 if oldest else -1):
                leave()
        else:
            ends = [requests.enter(key, 3) for requests in (model, mover)]
            assert (ends[0] is None) == (ends[1] is None)
            held += [ends] if ends[0] else []
    if is_shared:
        mover.unshare(STATE)


def ended(function, *arguments):
    child = Child(function, *arguments)
    assert child.wait() == 0


def test_another_process_sees_the_requests_and_their_ends(state):
    requests = ConcurrentRequests("seen", 100)
    early = requests.enter("a", 3)
    requests.share(state)
    late = requests.enter("a", 3)

    def admitted(expected):
        other = ConcurrentRequests("seen", 100)
        other.share(SharedState(state.fd))
        assert [bool(other.enter("a", 3)) for _ in range(4)].count(True) == expected

    ended(admitted, 1)
    ended(admitted, 1)  # what an ended process had counts no more
    early()
    ended(admitted, 2)
    late()
    ended(admitted, 3)


def test_a_request_while_counts_are_published_is_counted_once(state):
    requests = ConcurrentRequests("moving", 10_000)
    ends = [requests.enter(str(number), 2) for number in range(1000)]
    moving = gevent.spawn(requests.share, state)
    gevent.sleep(0)
    assert not moving.dead
    ends[999]()
    assert [bool(requests.enter(key, 2)) for key in ("0", "998", "999", "999", "new")] == [True] * 5
    moving.join()

    def rejected():
        other = ConcurrentRequests("moving", 10_000)
        other.share(SharedState(state.fd))
        assert [bool(other.enter(key, 2)) for key in ("0", "998", "999", "new", "5")] == [False] * 3 + [True] * 2

    ended(rejected)


def test_four_processes_never_admit_more_than_the_limit_together(state):
    """Each publishes what it holds; the limit holds at each moment at which all is under the mutex."""
    held, worst = state.area("held", 64 * 8), state.area("worst", 64)

    def work(number):
        own = SharedState(state.fd)
        mutex = own.mutexes("watch")(0)
        requests = ConcurrentRequests("busy", 1000)
        requests.share(own)
        draws = random.Random(number)
        ends = []
        for _ in range(3000):
            if ends and draws.random() < 0.5:
                with mutex:
                    held.words[0] -= 1
                ends.pop(draws.randrange(len(ends)))()
            elif leave := requests.enter("a", 5):
                with mutex:  # after the admission, and before the end: so never too many
                    held.words[0] += 1
                    worst.words[0] = max(worst.words[0], held.words[0])
                ends.append(leave)
        for leave in ends:
            with mutex:
                held.words[0] -= 1
            leave()

    together(4, work)
    assert held.words[0] == 0
    assert worst.words[0] == 5
    requests = ConcurrentRequests("busy", 1000)
    requests.share(state)
    assert [bool(requests.enter("a", 5)) for _ in range(6)] == [True] * 5 + [False]


def test_killed_processes_leave_no_count(state):
    requests = ConcurrentRequests("kills", 16)
    requests.share(state)
    mine = requests.enter("a", 1000)
    ready = state.area("ready", 64)

    def hold():
        other = ConcurrentRequests("kills", 16)
        other.share(SharedState(state.fd))
        while True:
            ends = [other.enter(str(number % 20), 1000) for number in range(100)] + [other.enter("a", 1000)]
            ready.words[0] += 1
            for leave in ends[random.randrange(50) :]:
                leave()

    for turn in range(30):
        child = Child(hold)
        while ready.words[0] < 1 + turn:
            os.sched_yield()
        ready.words[0] = turn + 1
        assert child.kill() == -signal.SIGKILL
    assert requests.enter("a", 2) is not None
    assert requests.enter("a", 2) is None
    mine()
    assert [bool(requests.enter(str(number), 1)) for number in range(16)].count(True) >= 15


def test_a_full_set_lets_each_process_count_for_itself(state):
    requests = ConcurrentRequests("full", 16)
    requests.share(state)
    for number in range(16):
        requests.enter(str(number), 1)

    def counts_alone():
        other = ConcurrentRequests("full", 16)
        other.share(SharedState(state.fd))
        assert [bool(other.enter("new", 2)) for _ in range(3)] == [True, True, False]
        assert other.enter("0", 1) is None

    ended(counts_alone)


def test_without_room_each_process_counts_for_itself(state, monkeypatch):
    monkeypatch.setattr("gproxy.state.shared.memory._SIZE", 300_000)
    requests = ConcurrentRequests("large", 1_000_000)
    requests.enter("a", 2)
    requests.share(state)
    assert [bool(requests.enter("a", 2)) for _ in range(2)] == [True, False]
    requests.unshare(state)
    assert requests.enter("a", 2) is None


def test_without_a_row_each_process_counts_for_itself(state, monkeypatch):
    monkeypatch.setattr(concurrency, "_ROWS", 0)
    requests = ConcurrentRequests("rows", 10)
    requests.share(state)
    assert [bool(requests.enter("a", 1)) for _ in range(2)] == [True, False]


def test_a_table_in_use_keeps_its_size(state):
    one = ConcurrentRequests("size", 100)
    one.share(state)
    one.enter("a", 1)

    def sees():
        other = ConcurrentRequests("size", 5000)
        other.share(SharedState(state.fd))
        assert other.enter("a", 1) is None

    ended(sees)


def test_memory_is_bounded(state):
    requests = ConcurrentRequests("small", 10_000)
    requests.share(state)
    for number in range(50_000):
        requests.enter(str(number), 1)()
    assert os.fstat(state.fd).st_blocks * 512 < 400_000
