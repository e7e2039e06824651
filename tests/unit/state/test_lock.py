"""Locks of a machine: one holder at a time, over processes; an end for holders that do not leave."""

import gevent
import pytest

from gproxy.state.lock import Lock, Locks
from gproxy.state.shared.memory import SharedState
from gproxy.state.shared.table import SharedEntries
from gproxy.state.table import MemoryEntries
from gproxy.testing import Clock
from unit.state.processes import Child

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def locks(clock, state=None, report_full=lambda: None):
    pause = clock.advance
    entries = MemoryEntries(10, clock) if state is None else SharedEntries.open(state, "locks", 10, clock, pause)
    return Locks(entries, state, pause, report_full)


def test_a_second_holder_waits_for_the_end_of_the_first():
    clock = Clock(0)
    found = locks(clock)
    with Lock("one", found, 5.0), Lock("other", found, 5.0):
        assert clock() == 0
        with Lock("one", found, 5.0):
            assert 5 <= clock() < 5.1


def test_a_holder_that_leaves_lets_the_next_one_in():
    clock = Clock(0)
    one = Lock("one", locks(clock), 5.0)
    for _ in range(3):
        with one:
            pass
    assert clock() == 0


def test_a_holder_whose_time_has_ended_frees_nothing_of_the_next():
    clock = Clock(0)
    found = locks(clock)
    late = Lock("one", found, 5.0)
    late.__enter__()
    clock.advance(5)
    with Lock("one", found, 5.0):
        late.__exit__(None, None, None)
        began = clock()
        with Lock("one", found, 5.0):
            assert clock() - began >= 5


def test_two_greenlets_that_share_a_lock_free_only_their_own():
    clock = Clock(0)
    found = locks(clock)
    shared = Lock("one", found, 5.0)
    late = gevent.spawn(hold_beyond, shared, clock)
    gevent.sleep(0)
    assert clock() == 5
    with shared:  # the time of the late one has ended
        late.get()
        assert found.entries.get(b"one") is not None
    assert found.entries.get(b"one") is None


def hold_beyond(lock, clock):
    with lock:
        clock.advance(5)
        gevent.sleep(0)


def test_a_wait_ends_by_what_the_pause_raises():
    found = locks(Clock(0))
    with Lock("one", found, 5.0):
        found.pause = raising
        with pytest.raises(TimeoutError), Lock("one", found, 5.0):
            raise AssertionError
    assert found.entries.get(b"one") is None


def raising(_):
    raise TimeoutError


@pytest.mark.parametrize(("count", "longest"), [(1, 0.02), (100, 0.1)])
def test_the_more_wait_the_longer_is_the_pause_of_each(count, longest):
    found, pauses = locks(Clock(0)), []

    def pause(seconds):
        pauses.append(seconds)
        gevent.sleep(0)

    found.pause = pause
    for _ in range(2):  # those who have waited before do not count
        with Lock("one", found, 5.0):
            waiting = [gevent.spawn(Lock("one", found, 5.0).__enter__) for _ in range(count)]
            for _ in range(10):
                gevent.sleep(0)
            gevent.killall(waiting)
        assert max(pauses) == longest


def test_a_lock_that_is_freed_since_too_many_are_held_is_reported():
    reports = []
    found = locks(Clock(0), report_full=lambda: reports.append("full"))
    for number in range(10):
        Lock(str(number), found, 5.0).__enter__()
    assert not reports
    with Lock("one more", found, 5.0):
        assert reports == ["full"]
    with Lock("0", found, 5.0):  # the oldest was freed
        assert reports == ["full"]


def test_the_end_of_a_process_frees_its_locks(state):
    def hold():
        Lock("one", locks(Clock(0), SharedState(state.fd)), 1000.0).__enter__()

    assert Child(hold).wait() == 0
    clock = Clock(0)
    with Lock("one", locks(clock, state), 1000.0):
        assert clock() == 0
