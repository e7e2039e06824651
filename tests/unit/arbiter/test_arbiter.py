"""The decisions of the arbiter, with scripted workers: messages that come late or out of order, and ends."""

import signal

import pytest

from gproxy.arbiter import workers
from gproxy.arbiter.messages import Beat, Built, Closed, Failed, Ready, Reloads, Shared, Stopped
from gproxy.arbiter.spawn import STACK_SIGNAL


def test_a_start_opens_the_first_worker_before_the_others_and_accepts_when_all_are_ready(scene, caplog):
    play = scene("workers = 2")
    (first,) = play.workers
    assert first.commands() == ["build"]
    first.say(Built(["a warning"], []))
    first, second = play.workers
    assert (first.commands(), second.commands()) == (["open"], ["build"])
    second.say(Built([], []))
    assert second.commands() == []
    first.say(Ready(), Beat())
    assert (first.commands(), second.commands()) == ([], ["open"])
    second.say(Ready())
    assert (first.commands(), second.commands()) == (["accept"], ["accept"])
    assert caplog.messages[0] == "a warning"
    assert caplog.messages[1].endswith("serves on 127.0.0.1:1 with 2 workers")


def test_a_reload_shares_first_and_retires_the_old_worker_last(scene, caplog):
    play = scene()
    (old,) = play.serve()
    play.arbiter._reload("SIGHUP")
    new = play.workers[-1]
    new.say(Built([], []))
    assert (old.commands(), new.commands()) == (["share"], ["build"])
    old.say(Shared())
    assert new.commands() == ["open"]
    new.say(Ready())
    assert (old.commands(), new.commands()) == (["retire"], ["accept"])
    old.say(Closed())
    assert caplog.messages[-1] == "reloaded: generation 2 serves on 127.0.0.1:1"
    old.say(Stopped(0))
    old.end()
    assert new.commands() == ["unshare"]


def test_the_log_level_is_that_of_the_generation_that_serves(scene):
    play = scene("[log]\nlevel = error")
    (old,) = play.serve()
    assert play.levels[-1] == "error"
    play.config.write_text("[server]\nbind = 127.0.0.1:1\n[log]\nlevel = debug\n")
    play.arbiter._reload("SIGHUP")
    play.workers[-1].say(Built([], []))
    play.workers[-1].end()  # the reload fails
    assert play.levels[-1] == "error"
    play.arbiter._reload("SIGHUP")
    play.workers[-1].say(Built([], []))
    old.say(Shared())
    play.workers[-1].say(Ready())
    assert play.levels[-1] == "debug"


def test_the_first_generation_has_its_log_level_before_its_warnings(scene):
    play = scene("[log]\nlevel = error")
    play.workers[0].say(Built(["a warning"], []))
    assert play.levels[-1] == "error"


def test_reloads_are_reported_to_all_workers_and_to_later_ones(scene, monkeypatch):
    play = scene()
    monkeypatch.setattr(workers, "time", lambda: play.now)
    (old,) = play.serve()
    assert old.reloads == [Reloads(), Reloads(1, 0, 0, True, 1000.0)]
    play.now += 5
    for worker in ("fails", "serves"):
        play.arbiter._reload("SIGHUP")
        new = play.workers[-1]
        if worker == "fails":
            new.say(Failed(1, ["cannot build"]))
            new.end(1)
            old.commands()
            assert old.reloads[-1] == Reloads(1, 0, 1, False, 1000.0, "cannot build")
    new.say(Built([], []))
    old.say(Shared())
    new.say(Ready())
    new.commands()
    assert new.reloads == [Reloads(1, 0, 1, False, 1000.0, "cannot build"), Reloads(3, 1, 1, True, 1005.0)]
    old.commands()
    assert old.reloads[-1] == new.reloads[-1]


def test_built_and_ready_of_a_discarded_worker_come_too_late(scene, caplog):
    play = scene("workers = 2")
    old = play.serve()
    play.arbiter._reload("SIGHUP")
    new = play.workers[-1]
    play.arbiter._shutdown.stop("SIGTERM")
    assert new.signals == [signal.SIGKILL]
    new.say(Built([], []), Ready(), Beat(), Failed(1, ["too late"]))
    assert new.commands() == ["build"]
    assert len(play.workers) == 3
    new.end()
    for worker in old:
        worker.say(Closed(), Stopped(0))
        worker.end()
    assert caplog.messages[-1] == "stopped after 0.0 s; nothing was cut"
    assert "unexpected" not in caplog.text
    assert "too late" not in caplog.text


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'["built", [], []]\n', "unexpected built (state SERVING, ALONE)"),
        (b'["shared"]\n', "unexpected shared (state SERVING, ALONE)"),
        (b'["stopped", 0]\n', "unexpected stopped (state SERVING, ALONE)"),
        (b'["stop"]\n', 'unexpected malformed message ["stop"]: unknown name (state SERVING, ALONE)'),
        (b"[1\n", "unexpected malformed message [1: Expecting ',' delimiter"),
    ],
)
def test_a_serving_worker_that_sends_what_it_may_not_is_replaced(scene, caplog, line, said):
    play = scene()
    (worker,) = play.serve()
    worker.write(line + b'["closed"]\n')
    assert worker.signals == [signal.SIGKILL]
    assert caplog.messages[-1].startswith(f"worker 1 (generation 1, pid {worker.pid}): {said}")
    worker.end()
    assert caplog.messages[-1].endswith("was killed by SIGKILL; starting another one")
    assert play.serve() == [play.workers[1]]
    assert play.workers[1].signals == []


def test_a_reload_whose_worker_sends_what_it_may_not_fails(scene, caplog):
    play = scene()
    (old,) = play.serve()
    play.arbiter._reload("SIGHUP")
    new = play.workers[-1]
    new.say(Ready())
    new.end()
    assert caplog.messages[-1] == "reload failed; generation 1 keeps serving"
    assert "was killed by SIGKILL before it was ready" in caplog.text
    assert (old.signals, old.commands()) == ([], [])


def test_a_hung_worker_is_replaced_and_holds_up_no_other(scene, caplog):
    play = scene("worker_timeout = 5s\nworkers = 2")
    hung, alive = play.serve()
    play.advance(4)
    alive.say(Beat())
    play.advance(2)
    assert (hung.signals, alive.signals) == ([STACK_SIGNAL], [])
    hung.write(b'Thread 0x1:\n  File "mine.py"\n["beat"]\n')
    play.arbiter._staff.change(1, "SIGTTIN")
    third = play.workers[-1]
    third.say(Built([], []))
    assert third.commands() == ["build", "open"]
    play.advance(0.5)
    assert hung.signals == [STACK_SIGNAL, signal.SIGKILL]
    play.advance(2)
    alive.say(Beat())
    play.advance(4)
    assert caplog.text.count("killing it") == 1
    hung.end()
    assert "hung here:" in caplog.messages[-2]
    assert caplog.records[-2].stack_info == 'Thread 0x1:\n  File "mine.py"'
    assert caplog.messages[-1].endswith("was killed by SIGKILL; starting another one")
    assert play.workers[-1].number == hung.number


def test_a_pause_of_the_arbiter_counts_against_no_worker(scene, caplog):
    play = scene("worker_timeout = 5s")
    (worker,) = play.serve()
    play.advance(4)
    play.now += 60
    play.advance(0)
    play.advance(0.9)
    assert worker.signals == []
    play.advance(1)
    assert worker.signals == [STACK_SIGNAL], "it is still silent"
    assert caplog.text.count("killing it") == 1


def test_a_reload_does_not_wait_for_a_hung_worker(scene):
    play = scene("worker_timeout = 5s")
    (hung,) = play.serve()
    play.advance(6)
    assert hung.signals == [STACK_SIGNAL]
    play.arbiter._reload("SIGHUP")
    new = play.workers[-1]
    new.say(Built([], []))
    assert (hung.commands(), new.commands()) == ([], ["build", "open"])
    new.say(Ready())
    assert (hung.commands(), new.commands()) == ([], ["accept"])


@pytest.mark.parametrize("is_opening", [True, False])
def test_a_generation_with_a_hung_worker_is_never_ready(scene, caplog, is_opening):
    play = scene()
    (old,) = play.serve()
    play.config.write_text("[server]\nbind = 127.0.0.1:1\nworkers = 2\nworker_timeout = 5s\n")
    play.arbiter._reload("SIGHUP")
    play.workers[1].say(Built([], []))
    old.say(Shared())
    _, hung, slow = play.workers
    hung.say(Ready())
    if is_opening:
        slow.say(Built([], []))
        assert slow.commands() == ["build", "open"]
    play.advance(6)
    assert hung.signals == [STACK_SIGNAL]
    if is_opening:
        slow.say(Ready())
        assert slow.commands() == []
    else:
        slow.say(Built([], []))
        assert slow.commands() == ["build"]
    hung.end()
    assert caplog.messages[-1] == "reload failed; generation 1 keeps serving"


def test_a_worker_that_is_not_needed_any_more_before_it_serves_loses_no_request(scene, caplog):
    play = scene()
    (first,) = play.serve()
    play.arbiter._staff.change(1, "SIGTTIN")
    second = play.workers[-1]
    play.arbiter._staff.change(-1, "SIGTTOU")
    assert second.signals == [signal.SIGKILL]
    second.say(Built([], []))
    second.end()
    play.arbiter._shutdown.stop("SIGTERM")
    play.advance(0)
    assert first.commands() == ["unready", "stop"]
    first.say(Closed(), Stopped(0))
    first.end()
    assert caplog.messages[-1] == "stopped after 0.0 s; nothing was cut"
    assert "unexpected" not in caplog.text


def test_a_worker_less_is_not_replaced(scene, caplog):
    play = scene("workers = 2")
    _, second = play.serve()
    play.arbiter._staff.change(-1, "SIGTTOU")
    assert second.commands() == ["retire"]
    second.say(Closed(), Stopped(0))
    second.end()
    assert caplog.messages[-1] == "SIGTTOU: workers: 1"
    assert len(play.workers) == 2


def test_a_worker_whose_command_failed_closes_by_itself_and_is_replaced(scene, caplog):
    play = scene()
    (worker,) = play.serve()
    worker.say(Closed(), Beat())
    worker.say(Stopped(0))
    worker.end()
    assert caplog.messages[-1].endswith("exited with status 0; starting another one")
    assert play.workers[-1].number == 1
    assert "unexpected" not in caplog.text


def test_a_generation_whose_ready_worker_closes_by_itself_is_never_ready(scene, caplog):
    play = scene()
    (old,) = play.serve()
    play.config.write_text("[server]\nbind = 127.0.0.1:1\nworkers = 2\n")
    play.arbiter._reload("SIGHUP")
    play.workers[1].say(Built([], []))
    old.say(Shared())
    _, first, second = play.workers
    first.say(Ready(), Closed())
    second.say(Built([], []))
    second.say(Ready())
    assert "accept" not in first.commands() + second.commands()
    first.say(Stopped(0))
    first.end()
    assert caplog.messages[-1] == "reload failed; generation 1 keeps serving"
    assert "unexpected" not in caplog.text


def test_a_confirmation_that_comes_after_the_other_worker_has_ended_is_taken_back(scene):
    play = scene()
    (first,) = play.serve()
    play.arbiter._staff.change(1, "SIGTTIN")
    second = play.workers[-1]
    second.say(Built([], []))
    assert first.commands() == ["share"]
    play.arbiter._staff.change(-1, "SIGTTOU")
    second.end()
    assert first.commands() == []
    first.say(Shared())
    assert first.commands() == ["unshare"]
    play.arbiter._staff.change(1, "SIGTTIN")
    play.workers[-1].say(Built([], []))
    assert first.commands() == ["share"]
    assert play.workers[-1].commands() == ["build"]
    first.say(Shared())
    assert play.workers[-1].commands() == ["open"]


def test_a_replacement_that_fails_is_logged_and_tried_again_after_a_pause(scene, caplog):
    play = scene()
    (first,) = play.serve()
    first.end(3)
    second = play.workers[-1]
    second.say(Failed(1, ["cannot open"]))
    assert second.signals == []
    second.end(1)
    assert caplog.messages[-2] == f"worker 1 (generation 1, pid {second.pid}): cannot open"
    assert caplog.messages[-1].endswith("exited with status 1; starting another one in 0.1 s")
    assert play.workers[-1] is second
    play.advance(0.1)
    assert play.workers[-1] is not second


def test_a_worker_that_ends_again_and_again_delays_no_other(scene, caplog):
    play = scene("workers = 3")
    first, second, third = play.serve()
    for end in ("starting another one", "starting another one in 0.1 s", "starting another one in 0.2 s"):
        first.end(3)
        assert caplog.messages[-1].endswith(end)
        play.advance(0.2)
        first = play.workers[-1]
        first.say(Built([], []))
        first.say(Ready())
    first.end(3)
    assert caplog.messages[-1].endswith("starting another one in 0.4 s")
    second.end(3)
    assert caplog.messages[-1].endswith("starting another one")
    assert play.workers[-1].number == 2
    play.workers[-1].end(3)
    assert caplog.messages[-1].endswith("starting another one in 0.1 s")
    third.end(3)
    assert play.workers[-1].number == 3  # no other worker is left
    assert caplog.messages[-1].endswith("starting another one")
    count = len(play.workers)
    play.advance(0.4)
    assert [worker.number for worker in play.workers[count:]] == [2, 1]


def test_a_paused_start_of_a_worker_that_is_no_longer_wanted_does_not_happen(scene):
    play = scene("workers = 2")
    _, second = play.serve()
    for _ in range(2):
        second.end(3)
        second = play.workers[-1]
    play.arbiter._staff.change(-1, "SIGTTOU")
    count = len(play.workers)
    play.advance(1)
    assert len(play.workers) == count


def test_a_worker_whose_end_is_known_gets_no_signal(scene, caplog):
    play = scene()
    play.serve()
    play.arbiter._reload("SIGHUP")
    new = play.workers[-1]
    new.control.send(Failed(1, ["cannot open"]))
    new.control.send(Ready())
    new.end(1)
    assert new.signals == []
    assert caplog.messages[-2:] == ["reload: cannot open", "reload failed; generation 1 keeps serving"]


def test_what_a_killed_worker_says_after_grace_does_not_count(scene, caplog):
    play = scene("grace = 1s")
    (worker,) = play.serve()
    play.arbiter._shutdown.stop("SIGTERM")
    play.advance(0)
    worker.say(Closed())
    play.advance(6)
    assert worker.signals == [STACK_SIGNAL]
    worker.say(Stopped(0))
    worker.end()
    assert caplog.messages[-1] == "stopped after 6.0 s; 1 worker killed, with all open requests"
    play.advance(0.5)
    assert worker.signals == [STACK_SIGNAL]  # its process id may be another process's by now


def test_a_worker_that_is_killed_while_it_drains_is_lost(scene, caplog):
    play = scene()
    (old,) = play.serve()
    play.arbiter._reload("SIGHUP")
    play.workers[-1].say(Built([], []))
    old.say(Shared())
    play.workers[-1].say(Ready())
    old.end(9)
    assert caplog.messages[-1].endswith("exited with status 9 while it was draining")
    assert len(play.workers) == 2
    play.arbiter._shutdown.quit()
    new = play.workers[-1]
    assert new.commands()[-1] == "quit"
    new.end()
    assert play.arbiter._shutdown.lost == 1
    assert play.arbiter._loop.is_stopped


def test_a_command_that_comes_while_a_worker_opens_waits_for_it(scene):
    play = scene("stop_delay = 5s")
    (first,) = play.serve()
    first.end(3)
    second = play.workers[-1]
    second.say(Built([], []))
    play.arbiter._shutdown.stop("SIGTERM")
    assert second.commands() == ["build", "open", "unready"]
    second.say(Ready())
    assert second.commands() == ["accept", "unready"]
