"""Probation: counts of the new generation's workers are added up; above the share the previous one returns, once."""

import pytest

from gproxy.arbiter.generations.reload import Reload
from gproxy.arbiter.messages import Beat, Built, Failed, Ready, Shared

PROBATION = "probation = 60s\nprobation_errors = 10%"
LAST = "handler greet: ValueError: no (greeting.py:3)"


def reloaded(scene, server=PROBATION):
    """A gateway whose second generation has begun to serve, and its workers."""
    play = scene(server)
    play.serve()
    return play, reload(play)


def reload(play):
    old = [worker for worker in play.workers if worker.pid in {one.pid for one in play.arbiter._current.workers}]
    play.arbiter._reload("SIGHUP")
    first = play.workers[-1]
    first.say(Built([], []))
    for worker in old:
        worker.say(Shared())
    new = play.workers[play.workers.index(first) :]
    for worker in new[1:]:
        worker.say(Built([], []))
    for worker in new:
        worker.say(Ready())
    play.advance(2)  # the line of the log
    return new


def is_rolling_back(play):
    return play.arbiter._next is not None


def test_too_many_errors_bring_the_previous_generation_back(scene, caplog):
    play, (new,) = reloaded(scene)
    new.say(Beat(20, 2))
    assert not is_rolling_back(play)
    new.say(Beat(21, 3, LAST))
    assert is_rolling_back(play)
    share = "14.3% of 21 requests failed in handlers, more than 10%"
    assert caplog.messages[-2] == f"generation 2 fails its probation: {share}; the last in {LAST}"
    assert caplog.records[-2].levelname == "ERROR"
    assert caplog.messages[-1].startswith("probation: returning to ")
    assert play.arbiter._next.settings_files == play.arbiter._history.previous.files


def test_the_counts_of_all_its_workers_count_and_no_others(scene):
    play, (first, second) = reloaded(scene, f"workers = 2\n{PROBATION}")
    play.workers[0].say(Beat(1000, 1000, LAST))
    first.say(Beat(15, 1))
    first.say(Beat(16, 2))
    assert not is_rolling_back(play)
    first.end(1)
    second.say(Beat(4, 1, LAST))
    assert is_rolling_back(play)


@pytest.mark.parametrize("beat", [Beat(19, 19, LAST), Beat(100, 10, LAST)])
def test_few_requests_and_the_share_itself_are_fine(scene, beat):
    play, (new,) = reloaded(scene)
    new.say(beat)
    assert not is_rolling_back(play)


def test_it_ends_with_its_time(scene):
    play, (new,) = reloaded(scene)
    report = play.arbiter.report()["probation"]
    assert report["generation"] == 2
    play.advance(58)
    assert play.arbiter.report()["probation"] is None
    new.say(Beat(100, 100, LAST))
    assert not is_rolling_back(play)


@pytest.mark.parametrize("server", ["", "probation = 0s"])
def test_without_the_option_nothing_is_judged(scene, server):
    play, (new,) = reloaded(scene, server)
    new.say(Beat(100, 100, LAST))
    assert not is_rolling_back(play)


def test_the_first_generation_is_not_on_probation(scene):
    play = scene(PROBATION)
    (first,) = play.serve()
    first.say(Beat(100, 100, LAST))
    assert not is_rolling_back(play)


def test_what_returns_is_not_on_probation_and_the_reason_is_kept(scene):
    play, (new,) = reloaded(scene)
    new.say(Beat(100, 50, LAST))
    back = play.workers[-1]
    back.say(Built([], []))
    new.say(Shared())
    back.say(Ready())
    play.advance(2)
    assert play.arbiter._current.number == 3
    back.say(Beat(100, 100, LAST))
    assert not is_rolling_back(play)
    record = play.arbiter.report()["reloads"][-1]
    assert (record["cause"], record["succeeded"], record["generation"]) == ("probation", True, 3)
    assert LAST in record["reasons"][0]


def test_it_returns_once_even_if_that_fails(scene, caplog):
    play, (new,) = reloaded(scene)
    new.say(Beat(100, 50, LAST))
    play.workers[-1].say(Failed(1, ["cannot open"]))
    play.workers[-1].end(1)
    assert caplog.messages[-1] == "reload failed; generation 2 keeps serving"
    new.say(Beat(200, 150, LAST))
    assert not is_rolling_back(play)


def test_a_reload_under_way_comes_first(scene):
    play, (new,) = reloaded(scene)
    play.arbiter.reload(Reload("SIGHUP"))
    fix = play.workers[-1]
    new.say(Beat(100, 50, LAST))
    assert not play.arbiter._reloads.next()
    fix.say(Failed(2, ["no"]))
    fix.end(2)
    new.say(Beat(110, 55, LAST))
    assert is_rolling_back(play)


def test_a_rollback_by_hand_is_not_on_probation(scene):
    play, (new,) = reloaded(scene)
    play.arbiter.reload(Reload("rollback", is_rollback=True))
    back = play.workers[-1]
    back.say(Built([], []))
    new.say(Shared())
    back.say(Ready())
    assert play.arbiter.report()["probation"] is None


def test_after_two_reloads_the_generation_that_has_passed_returns(scene):
    play = scene(PROBATION)
    play.serve()
    code = play.arbiter._current.reading.code
    reload(play)
    (new,) = reload(play)
    new.say(Beat(100, 50, LAST))
    assert play.arbiter._next.reading.code is code
    back = play.workers[-1]
    back.say(Built([], []))
    new.say(Shared())
    back.say(Ready())
    assert play.arbiter.report()["rollbacks"] == 0


def test_a_generation_that_has_failed_is_not_returned_to_after_a_later_reload(scene):
    play, (new,) = reloaded(scene)
    code = play.arbiter._history.previous.code
    new.say(Beat(100, 50, LAST))
    play.workers[-1].say(Failed(1, ["cannot open"]))
    play.workers[-1].end(1)
    (new,) = reload(play)
    new.say(Beat(100, 50, LAST))
    assert play.arbiter._next.reading.code is code


def test_a_generation_whose_probation_is_over_is_returned_to(scene):
    play, _ = reloaded(scene)
    play.advance(58)
    code = play.arbiter._current.reading.code
    (new,) = reload(play)
    new.say(Beat(100, 50, LAST))
    assert play.arbiter._next.reading.code is code
