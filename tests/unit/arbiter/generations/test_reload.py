"""Reloads that somebody waits for, and rollbacks: each answer is the outcome of the reload that was asked for."""

from gproxy.arbiter.generations.history import GenerationHistory, Reading
from gproxy.arbiter.generations.reload import Reload, ReloadQueue
from gproxy.arbiter.messages import Built, Closed, Failed, Ready, Shared, Stopped


class Asked(Reload):
    """A reload with the outcomes that its reply gets."""

    def __init__(self, cause="an operator", **fields):
        self.outcomes = []
        super().__init__(cause, [lambda *outcome: self.outcomes.append(outcome)], **fields)


def finish(play, old):
    """Let the next generation serve, and return its worker."""
    new = play.workers[-1]
    new.say(Built([], []))
    if "share" in old.commands():
        old.say(Shared())
    new.say(Ready())
    old.say(Closed())
    return new


def fail(play, *reasons):
    new = play.workers[-1]
    new.say(Failed(2, list(reasons)))
    new.end(2)


def ask(play, reload):
    play.arbiter.reload(reload)
    return reload


def text(play):
    """The settings that the youngest generation has read."""
    generation = play.arbiter._next or play.arbiter._current
    return generation.settings_files[0].data.decode()


def test_the_outcome_of_a_reload_is_its_generation(scene):
    play = scene()
    (old,) = play.serve()
    asked = ask(play, Asked())
    assert asked.outcomes == []
    finish(play, old)
    assert asked.outcomes == [(True, {"generation": 2, "reasons": []})]


def test_a_reload_has_no_outcome_while_a_worker_before_may_accept(scene):
    play = scene()
    (old,) = play.serve()
    asked = ask(play, Asked())
    new = play.workers[-1]
    for worker, message in (new, Built([], [])), (old, Shared()), (new, Ready()):
        worker.say(message)
    assert asked.outcomes == []
    old.say(Closed())
    assert len(asked.outcomes) == 1


def test_the_outcome_of_a_failed_reload_is_its_reasons(scene):
    play = scene()
    play.serve()
    asked = ask(play, Asked())
    fail(play, "gproxy.ini:3: [server] workers: expected a number")
    assert asked.outcomes == [
        (False, {"generation": 1, "reasons": ["gproxy.ini:3: [server] workers: expected a number"]})
    ]


def test_a_queued_reload_has_an_outcome_of_its_own(scene):
    play = scene()
    (old,) = play.serve()
    first, second, third = (ask(play, Asked()) for _ in range(3))
    play.arbiter._reload("SIGHUP")
    fail(play, "a mistake")
    assert (len(first.outcomes), second.outcomes, third.outcomes) == (1, [], [])
    finish(play, old)
    assert second.outcomes == third.outcomes == [(True, {"generation": 3, "reasons": []})]
    assert play.arbiter._next is None  # one reading of the file was enough for the three


def test_the_last_outcomes_are_reported(scene):
    play = scene()
    (old,) = play.serve()
    for _ in range(11):
        play.arbiter._reload("SIGHUP")
        fail(play, "a mistake")
    ask(play, Asked("reload by alice"))
    finish(play, old)
    records = play.arbiter.report()["reloads"]
    assert len(records) == 10
    assert (records[0]["cause"], records[0]["succeeded"], records[0]["reasons"]) == ("SIGHUP", False, ["a mistake"])
    assert (records[-1]["cause"], records[-1]["succeeded"], records[-1]["generation"]) == ("reload by alice", True, 13)


def test_a_stop_answers_all_that_wait(scene):
    play = scene()
    play.serve()
    asked = [ask(play, Asked()), ask(play, Asked())]
    play.arbiter._shutdown.stop("SIGTERM")
    asked.append(ask(play, Asked()))
    assert [one.outcomes for one in asked] == [[(False, {"reasons": ["the gateway is stopping"]})]] * 3


def test_a_rollback_goes_back_step_by_step_and_hup_reads_the_file(scene):
    play = scene()
    (worker,) = play.serve()
    original = play.config.read_text()
    for number in (2, 3):
        play.config.write_text(f"{original}# {number}\n")
        play.arbiter._reload("SIGHUP")
        worker = finish(play, worker)
    for expected in (f"{original}# 2\n", original):
        asked = ask(play, Asked(is_rollback=True))
        worker = finish(play, worker)
        assert text(play) == expected
        assert asked.outcomes[0][0]
    play.arbiter._reload("SIGHUP")
    finish(play, worker)
    assert text(play) == f"{original}# 3\n"


def test_a_dry_reload_ends_before_the_new_generation_accepts(scene, caplog):
    play = scene("workers = 2")
    old = play.serve()
    asked = ask(play, Asked("dry reload by alice", is_dry=True))
    waiting = ask(play, Asked("a reload"))
    (tried,) = play.workers[2:]
    tried.say(Built([], []))
    assert tried.commands() == ["build", "open"]
    tried.say(Ready())
    assert tried.commands() == ["retire"]
    assert asked.outcomes == [(True, {"generation": 1, "reasons": []})]
    assert [worker.commands() for worker in old] == [[], []]
    assert [worker.reloads[-1].succeeded for worker in old] == [0, 0]
    tried.say(Closed(), Stopped(0))
    tried.end()
    assert waiting.outcomes == []  # it has a generation of its own
    assert len(play.workers) == 4
    fail(play, "a mistake")
    assert [record["cause"] for record in play.arbiter.report()["reloads"]] == ["a reload"]


def test_a_dry_reload_that_fails_is_no_failed_reload(scene, caplog):
    play = scene()
    (old,) = play.serve()
    asked = ask(play, Asked(is_dry=True))
    fail(play, "gproxy.ini:3: a mistake")
    assert asked.outcomes == [(False, {"generation": 1, "reasons": ["gproxy.ini:3: a mistake"]})]
    assert caplog.messages[-2:] == [
        "dry reload: gproxy.ini:3: a mistake",
        "dry reload failed; generation 1 keeps serving",
    ]
    assert (old.commands(), old.reloads[-1].failed) == ([], 0)
    assert play.arbiter.report()["reloads"] == []


def test_a_rollback_without_an_earlier_generation_fails(scene, caplog):
    play = scene()
    play.serve()
    asked = ask(play, Asked("rollback by alice", is_rollback=True))
    assert asked.outcomes == [(False, {"reasons": ["there is no earlier generation to return to"]})]
    assert caplog.messages[-1] == "rollback by alice: there is no earlier generation to return to"
    assert len(play.workers) == 1


def test_a_failed_rollback_can_be_repeated(scene):
    play = scene()
    (worker,) = play.serve()
    play.arbiter._reload("SIGHUP")
    worker = finish(play, worker)
    ask(play, Asked(is_rollback=True))
    fail(play, "a file is missing")
    asked = ask(play, Asked(is_rollback=True))
    finish(play, worker)
    assert asked.outcomes == [(True, {"generation": 4, "reasons": []})]


def test_three_generations_before_the_current_one_are_kept():
    history = GenerationHistory()
    for number in range(1, 7):
        history.serve(Reading(number, ()))
    found = []
    while previous := history.previous:
        found.append(previous.generation)
        history.serve(Reading(7, ()), previous)
    assert found == [5, 4, 3]


def test_rollbacks_that_wait_are_bounded():
    queue = ReloadQueue()
    asked = [Asked(is_rollback=True) for _ in range(11)]
    for one in asked:
        queue.wait(one)
    assert [len(one.outcomes) for one in asked] == [0] * 10 + [1]
    assert asked[-1].outcomes == [(False, {"reasons": ["10 reloads wait already"]})]
