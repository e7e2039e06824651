import os
import signal

import pytest

from gproxy.state.shared import counters as figures
from gproxy.state.shared.counters import SharedCounters
from gproxy.state.shared.memory import SharedState
from unit.state.processes import Child, together

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def total(own, name):
    place = own._find(name)
    return sum(row[place.start] for row in own.rows().values())


def test_each_process_has_a_row_of_its_own_and_sees_all(state):
    own = SharedCounters.open(state)
    own.cells("a", 1)[0] = 1

    def count(number):
        theirs = SharedCounters.open(SharedState(state.fd))
        theirs.cells(f"b{number}", 3)[2] += number
        for _ in range(50_000):
            theirs.cells("a", 1)[0] += 1
        os.sched_yield()

    together(4, count)
    assert total(own, "a") == 200_001
    assert {place.name: place.size for place in own.places()} == {"a": 1, "b0": 3, "b1": 3, "b2": 3, "b3": 3}
    starts = [place.start for place in own.places()]
    assert starts == sorted(set(starts))
    assert 2 <= len(own.rows()) <= 5
    assert len(own.rows(living=True)) == 1


def test_a_row_is_taken_over_with_what_was_counted(state):
    own = SharedCounters.open(state)

    def count():
        cells = SharedCounters.open(SharedState(state.fd)).cells("a", 1)
        for _ in range(10):
            cells[0] += 1
        os.kill(os.getpid(), signal.SIGKILL)

    for turn in range(20):
        assert Child(count).wait() == -signal.SIGKILL
        assert total(own, "a") == 10 * (turn + 1)
    assert len(own.rows()) == 2


def test_without_room_there_are_no_cells(state, monkeypatch, caplog):
    monkeypatch.setattr(figures, "CELLS", 10)
    own = SharedCounters.open(state)
    assert own.cells("a", 8) is not None
    assert own.cells("b", 8) is None
    assert own.cells("c", 2) is not None
    assert own.cells("a", 8) is not None
    assert "no room in the memory shared by the workers for another metric: b" in caplog.text


def test_without_a_row_there_are_none(state, monkeypatch):
    monkeypatch.setattr(figures, "_ROWS", 1)
    SharedCounters.open(state)
    assert Child(lambda: os._exit(SharedCounters.open(SharedState(state.fd)) is not None)).wait() == 0


def test_the_last_one_can_leave_it_as_if_nothing_had_been(state):
    own = SharedCounters.open(state)
    own.cells("a", 1)[0] = 5
    own.close(wipe=True)
    again = SharedCounters.open(state)
    assert list(again.places()) == []
    assert again.cells("b", 1)[0] == 0
