import pytest

from gproxy.state.shared.health_table import HealthRecord, HealthTable
from gproxy.state.shared.memory import SharedState
from unit.state.processes import Child, together

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")

BAD = HealthRecord(passes=False, ejected_until=12345.678, why="status 500")


def test_all_see_what_one_says(state):
    here, there = (HealthTable(state, "users") for _ in range(2))
    assert here.read("a") is None
    version = there.version
    here.write("a", BAD)
    assert there.version != version
    assert (there.read("a"), there.read("b")) == (BAD, None)
    there.write("a", HealthRecord(True, 0.0, ""))
    assert here.read("a") == HealthRecord(True, 0.0, "")


def test_other_upstreams_and_backends_are_others(state):
    HealthTable(state, "users").write("a", BAD)
    other = HealthTable(state, "orders")
    assert (other.read("a"), other.read("never heard of")) == (None, None)
    assert other.version == 0


def test_a_new_generation_finds_what_is_left_of_the_old(state):
    HealthTable(state, "users").write("b", BAD)
    assert HealthTable(state, "users").read("b") == BAD


def test_a_long_reason_is_cut(state):
    board = HealthTable(state, "users")
    board.write("a", HealthRecord(False, 0.0, "ä" * 100))
    assert board.read("a").why.startswith("ä" * 50)


def test_wiped_it_is_as_it_was_at_first(state):
    board = HealthTable(state, "users")
    board.write("a", BAD)
    board.wipe()
    assert board.read("a") is None


def test_readers_never_see_half_an_opinion(state):
    opinions = [HealthRecord(bool(number % 2), float(number), str(number) * 20) for number in range(1, 10)]

    def work(number):
        board = HealthTable(SharedState(state.fd), "users")
        for turn in range(20_000):
            if number % 2:
                board.write("a", opinions[turn % 9])
            else:
                assert board.read("a") in [None, *opinions]

    together(4, work)


def test_killed_in_the_middle_somebody_else_can_write(state):
    def write():
        board = HealthTable(SharedState(state.fd), "users")
        while True:
            board.write("a", BAD)

    board = HealthTable(state, "users")
    for _ in range(30):
        child = Child(write)
        goal = board.version + 500
        while board.version < goal:
            pass
        child.kill()
        board.write("a", HealthRecord(True, 0.0, ""))
        assert board.read("a") == HealthRecord(True, 0.0, "")


def test_without_room_nothing_is_kept(state, monkeypatch):
    monkeypatch.setattr("gproxy.state.shared.memory._SIZE", 0)
    board = HealthTable(state, "users")
    board.write("a", BAD)
    board.wipe()
    assert (board.version, board.read("a")) == (0, None)
