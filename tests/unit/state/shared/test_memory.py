import mmap
import os
from itertools import pairwise
from pathlib import Path

import pytest

from gproxy.state.shared import memory as shared
from gproxy.state.shared.memory import SharedState
from unit.state.processes import Child, together

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def test_an_area_is_found_by_its_name(state):
    area = state.area("one", 100)
    area.words[3] = 7
    assert area.size == 128
    assert area.words.tolist() == [0, 0, 0, 7] + [0] * 12
    assert state.area("one", 64).words[3] == 7  # as large as it was made
    assert state.area("two", 64).words[3] == 0


def test_other_processes_see_the_same(state):
    area = state.area("one", 64)

    def write(number):
        found = SharedState(state.fd).area("one", 64)
        found.words[number] = number + 1
        SharedState(state.fd).area(f"own {number}", 64).words[0] = number

    together(4, write)
    assert area.words.tolist()[:4] == [1, 2, 3, 4]
    assert [state.area(f"own {number}", 64).words[0] for number in range(4)] == [0, 1, 2, 3]


def test_the_first_process_that_maps_the_memory_initializes_it_once(state):
    areas = state.fd

    def start(number):
        own = SharedState(areas)
        own.area("secrets", 256).data[number * 16 : number * 16 + 16] = own.secret
        for _ in range(1000):
            with own.mutexes("all")(0):
                own.area("count", 64).words[0] += 1

    together(4, start)
    secrets = bytes(state.area("secrets", 256).data[:64])
    assert secrets == state.secret * 4
    assert any(state.secret)
    assert state.area("count", 64).words[0] == 4000


def test_views_of_an_area_are_of_the_same_bytes(state):
    area = state.area("one", 64)
    area.floats[1] = 1.5
    area.quads[4] = 9
    area.data[40:43] = b"abc"
    assert (area.words[2], bytes(area.data[8:16]), area.words[5].to_bytes(3, "little")) == (
        9,
        memoryview(area.floats)[1:2].tobytes(),
        b"abc",
    )
    area.wipe()
    assert not any(area.words)


def test_unused_areas_are_freed_when_the_memory_is_full(state, monkeypatch):
    monkeypatch.setattr(shared, "_SIZE", shared._AREAS + 10 * 4096)
    kept = state.area("mine", 4096)
    kept.words[0] = 1

    def fill(_):
        own = SharedState(state.fd)
        for number in range(9):
            area = own.area(f"theirs {number}", 4096)
            area.data[:] = b"x" * 4096
        assert own.area("one too many", 4096) is None

    together(1, fill)
    assert state.area("theirs 3", 4096).data[0] == ord("x")  # there is room, so it stayed
    new = state.area("new", 3 * 4096)
    assert not any(new.data)
    assert kept.words[0] == 1
    assert state.area("theirs 3", 4096).data[0] == ord("x")
    assert state.area("theirs 4", 4096).data[0] == 0


def test_what_is_full_of_living_areas_says_so(state, monkeypatch, caplog):
    monkeypatch.setattr(shared, "_SIZE", shared._AREAS + 4096)
    assert state.area("mine", 4096)
    assert state.area("another", 64) is None
    assert "another: no room in the memory shared by the workers" in caplog.text


def test_untouched_pages_cost_nothing(state):
    state.area("first", 64)
    before = os.fstat(state.fd).st_blocks
    state.area("large", 500_000_000)
    assert os.fstat(state.fd).st_blocks - before < 100


def exit_by(state):
    os._exit(SharedState(state.fd).lead("probe"))


def test_one_leads_and_when_it_is_killed_another(state):
    def hold(ready):
        assert SharedState(state.fd).lead("probe")
        ready[0] = 1
        while True:
            os.sched_yield()

    ready = memoryview(mmap.mmap(-1, 8)).cast("Q")
    child = Child(hold, ready)
    while not ready[0]:
        os.sched_yield()
    assert not state.lead("probe")
    assert state.lead("something else")
    child.kill()
    assert state.lead("probe")
    assert state.lead("probe")
    assert Child(exit_by, state).wait() == 0
    state.resign("probe")
    assert Child(exit_by, state).wait() == 1


def test_killed_while_making_areas(state):
    """The directory stays whole whenever it happens."""
    made = state.area("made", 50 * 8)
    for turn in range(50):

        def make(turn=turn):
            own = SharedState(state.fd)
            for number in range(60):
                own.area(f"{turn} {number}", 64).words[0] = number
                made.words[turn] += 1

        child = Child(make)
        while made.words[turn] < turn // 2:  # so it is in the middle, on a busy machine too
            os.sched_yield()
        for _ in range(turn * 5):
            os.sched_yield()
        child.kill()
    digests, begins, sizes = state._columns
    areas = sorted((begins[place], sizes[place]) for place, digest in enumerate(digests.tolist()) if digest)
    assert all(begin + size <= following for (begin, size), (following, _) in pairwise(areas))
    assert state.area("after", 64) is not None


def test_the_arbiter_maps_nothing_for_good():
    maps = Path("/proc/self/maps")
    before = maps.read_text().count("gproxy-state")
    made = [SharedState.create() for _ in range(20)]
    assert maps.read_text().count("gproxy-state") == before
    for one in made:
        os.close(one.fd)
