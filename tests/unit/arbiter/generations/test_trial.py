"""The self-test of a generation: its worker serves nothing; the others start once it has ended."""

import pytest

from gproxy.arbiter.messages import Beat, Built, Failed, Judged, Ready, Shared

SELFTEST = "selftest = GET /health 200"


def test_the_worker_of_the_test_ends_before_the_others_start_and_never_opens(scene, caplog):
    play = scene(f"workers = 2\n{SELFTEST}")
    (tester,) = play.workers
    tester.say(Built(["a warning"], []))
    assert (tester.commands(), len(play.workers), len(play.sockets)) == (["build"], 1, 2)
    tester.say(Judged([]))
    assert (tester.commands(), len(play.workers)) == ([], 1)
    tester.end()
    _, first, second = play.workers
    assert (first.commands(), second.commands()) == (["build"], ["build"])
    first.say(Built([], []))
    second.say(Built([], []))
    first.say(Ready(), Beat())
    second.say(Ready())
    assert first.commands()[-1] == second.commands()[-1] == "accept"
    assert caplog.messages[0] == "a warning"


def test_only_the_worker_of_the_test_tests(scene):
    play = scene(SELFTEST)
    generation = play.arbiter._next
    assert generation.is_on_trial
    play.workers[0].say(Built([], []), Judged([]))
    play.workers[0].end()
    assert not generation.is_on_trial


def reloading(scene):
    """A gateway that serves, and the worker that tests its next generation."""
    play = scene(SELFTEST)
    play.workers[0].say(Built([], []), Judged([]))
    play.workers[0].end()
    play.serve()
    play.arbiter._reload("SIGHUP")
    return play, play.workers[-1]


@pytest.mark.parametrize(
    ("messages", "status", "reason"),
    [
        ([Built([], []), Judged(["g.ini:3: no"])], 0, "reload: g.ini:3: no"),
        ([Built([], [])], 3, "exited with status 3 during the self-test"),
        ([Built([], []), Failed(1, ["[handler:a] no"])], 1, "reload: [handler:a] no"),
        ([], 3, "exited with status 3 before it was ready"),
    ],
)
def test_a_failure_is_a_failed_reload(scene, caplog, messages, status, reason):
    play, tester = reloading(scene)
    tester.say(*messages)
    tester.end(status)
    assert reason in " ".join(caplog.messages)
    assert caplog.messages[-1] == "reload failed; generation 1 keeps serving"
    assert play.arbiter._next is None
    assert play.workers[-1] is tester


def test_a_test_that_passes_goes_on_with_the_reload(scene, caplog):
    play, tester = reloading(scene)
    tester.say(Built([], []), Judged([]))
    tester.end()
    new = play.workers[-1]
    new.say(Built([], []))
    play.workers[1].say(Shared())
    new.say(Ready())
    assert play.arbiter._current.number == 2


@pytest.mark.parametrize("passes", [True, False])
def test_a_failure_at_the_first_start_is_a_warning(scene, caplog, passes):
    play = scene(SELFTEST)
    tester = play.workers[0]
    tester.say(Built([], []), *([Judged(["g.ini:3: no"])] if passes else []))
    tester.end(0 if passes else 1)
    play.serve()
    assert play.arbiter._current.number == 1
    assert caplog.records[0].levelname == "WARNING"
    assert caplog.messages[0].endswith("; serving all the same, since there is no earlier generation")


def test_a_rollback_tests_nothing(scene):
    play, tester = reloading(scene)
    tester.say(Built([], []), Judged([]))
    tester.end()
    new = play.workers[-1]
    new.say(Built([], []))
    play.workers[1].say(Shared())
    new.say(Ready())
    from gproxy.arbiter.generations.reload import Reload

    play.arbiter.reload(Reload("rollback", is_rollback=True))
    assert play.arbiter._next.trial is None
