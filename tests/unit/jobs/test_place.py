"""What several processes know of a job: who runs it, which slot was taken, what came of it."""

import pytest

from gproxy.jobs.place import Outcome, Place, Result
from gproxy.state.shared.memory import SharedState
from unit.state.processes import Child

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


@pytest.fixture(params=["alone", "shared"])
def place(request):
    return Place("job", None if request.param == "alone" else SharedState.create())


def outcome(place):
    return place.last


def test_a_run_is_noted_with_its_outcome(place):
    assert place.is_new and place.last is None and place.running_since is None
    assert place.begin(100.0)
    assert not place.begin(101.0)
    assert (place.running_since, place.is_new) == (100.0, False)
    place.end(Outcome(100.0, 2.5, Result.ERROR, "ValueError: ö" + "x" * 1000))
    assert place.success == 0.0
    *last, reason = outcome(place)
    assert last == [100.0, 2.5, Result.ERROR] and reason.startswith("ValueError: öxx")
    assert place.begin(200.0)
    place.end(Outcome(200.0, 1.0, Result.SUCCESS, ""))
    assert (place.last, place.success) == (Outcome(200.0, 1.0, Result.SUCCESS, ""), 201.0)


def test_a_slot_is_taken_once_and_so_are_those_before(place):
    assert not place.is_taken(60.0, 61.0)
    place.take(60.0)
    assert place.is_taken(60.0, 61.0) and place.is_taken(0.0, 61.0)
    assert not place.is_taken(120.0, 121.0)


def test_a_clock_that_is_set_back_takes_its_slots_anew(place):
    place.take(7200.0)
    assert not place.is_taken(3600.0, 3601.0)


def test_one_process_leads_and_one_runs_until_it_ends():
    state = SharedState.create()

    def other(leads, runs):
        def look():
            place = Place("job", SharedState(state.fd))
            assert (place.leads(), place.running_since, place.begin(5.0)) == (leads, None if runs else 1.0, runs)

        assert Child(look).wait() == 0

    place = Place("job", state)
    assert place.leads() and place.begin(1.0)
    other(leads=False, runs=False)
    place.resign()
    other(leads=True, runs=False)
    place.end(Outcome(1.0, 0.0, Result.SUCCESS, ""))
    other(leads=True, runs=True)
    assert place.begin(6.0)  # the process that ran it has ended
