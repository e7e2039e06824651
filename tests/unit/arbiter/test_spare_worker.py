"""The worker that is started ahead of a reload."""

import signal

import pytest

from gproxy.arbiter.messages import Built, Failed, Ready, Shared


@pytest.fixture
def serving(scene):
    play = scene("reload = on")
    play.serve()
    play.advance(1)
    return play


def test_a_reload_takes_the_spare_and_another_one_follows(serving):
    old, spare = serving.workers
    assert spare.commands() == []
    serving.arbiter._reload("SIGHUP")
    assert serving.workers == [old, spare]
    assert spare.commands() == ["build"]
    spare.say(Built([], []))
    old.say(Shared())
    spare.say(Ready())
    serving.advance(1)
    assert len(serving.workers) == 3
    assert serving.workers[2].commands() == []


def test_a_failed_reload_has_used_it_up(serving):
    old, spare = serving.workers
    serving.arbiter._reload("SIGHUP")
    spare.say(Failed(1, ["no"]))
    spare.end(1)
    serving.advance(1)
    serving.arbiter._reload("SIGHUP")
    assert len(serving.workers) == 3
    assert serving.workers[2].commands() == ["build"]
    assert "retire" not in old.commands()


def test_a_spare_that_has_ended_is_not_taken(serving):
    serving.workers[1].end(1)
    serving.arbiter._reload("SIGHUP")
    assert len(serving.workers) == 3
    assert serving.workers[2].commands() == ["build"]


def test_a_reload_before_the_spare_starts_needs_none(scene):
    play = scene("reload = on")
    play.serve()
    play.arbiter._reload("SIGHUP")
    assert len(play.workers) == 2
    play.advance(1)
    assert len(play.workers) == 2, "a spare is started once the reload is over"


def test_the_spare_is_killed_at_the_end(serving):
    serving.arbiter._spare.discard()
    assert serving.workers[1].signals == [signal.SIGKILL]
    serving.arbiter._spare.discard()
    assert len(serving.workers[1].signals) == 1


def test_there_is_none_without_reload_on(scene):
    play = scene("")
    play.serve()
    play.advance(1)
    assert len(play.workers) == 1
