"""The orders of the monitor: what each does, what it replies, and what outlives a reload."""

import pytest

from gproxy.arbiter import workers
from gproxy.arbiter.messages import Built, Lacks, LogLevel, Override, Ready
from gproxy.arbiter.monitor import overrides
from gproxy.arbiter.monitor.orders import Orders
from gproxy.arbiter.monitor.overrides import BackendOverrides, TemporaryLogLevel
from gproxy.arbiter.monitoring import NoMonitor
from gproxy.arbiter.spawn import STACK_SIGNAL
from gproxy.observe import log

DRAIN = {"state": "drain", "weight": None, "until": None, "author": "alice", "since": 1000.0}


class Operated(NoMonitor):
    """A monitor without a process: its orders, and what it keeps."""

    def __init__(self, arbiter):
        self.overrides = BackendOverrides()
        self.level = TemporaryLogLevel(arbiter._workers)
        self._orders = Orders(arbiter, arbiter._workers, self.overrides, self.level)

    def order(self, name, **arguments):
        """Give an order and return what has been replied so far."""
        replies = []
        self._orders.obey(name, arguments, lambda *outcome: replies.append(outcome))
        return replies

    def serve(self, generation):
        self.overrides.serve(generation.number)

    def attach(self, worker):
        self.overrides.give(worker)
        self.level.give(worker)

    def lacks(self, worker, upstream, backend):
        self.overrides.lacks(worker.generation_number, upstream, backend)


@pytest.fixture
def play(scene, monkeypatch):
    """A gateway with two workers that serve, and a monitor whose clock is the scene's."""
    play = scene("workers = 2")
    monkeypatch.setattr(overrides, "time", lambda: play.now)
    monkeypatch.setattr(log, "hold_level", lambda logger, level: play.levels.append((logger, level)))
    play.monitor = play.arbiter._monitor = Operated(play.arbiter)
    play.serve()
    return play


def received(worker, kind):
    """The messages of this kind that the worker has received since the last look."""
    found = []
    while messages := worker.control.receive():
        found += messages
    worker.control.take_fds()
    return [message for message in found if isinstance(message, kind)]


def reload(play):
    """Reload; return the workers of the new generation, which serve."""
    play.arbiter._reload("SIGHUP")
    first = play.workers[-1]
    first.say(Built([], []))
    second = play.workers[-1]
    second.say(Built([], []))
    first.say(Ready())
    second.say(Ready())
    return first, second


def test_an_unknown_order_and_wrong_arguments_fail(play):
    assert play.monitor.order("relaod")[0][0] is False
    assert "unknown order 'relaod'; known are reload" in play.monitor.order("relaod")[0][1]["detail"]
    assert play.monitor.order("workers", number=3)[0][0] is False
    assert play.monitor.order("workers", count=0) == [(False, {"detail": "count: expected a number from 1 to 1024"})]


def test_workers_start_and_retire(play, caplog):
    assert play.monitor.order("workers", count=3, author="alice") == [(True, {"workers": 3})]
    assert len(play.workers) == 3
    assert caplog.messages[-1] == "alice: workers: 3"
    assert play.monitor.order("workers", count=1) == [(True, {"workers": 1})]
    assert play.workers[1].commands() == ["retire"]


def test_logs_are_opened_anew_by_all_workers(play):
    assert play.monitor.order("reopen") == [(True, {})]
    assert [worker.commands() for worker in play.workers] == [["reopen"]] * 2


def test_a_kept_override_reaches_new_workers_before_they_accept(play):
    assert play.monitor.order("override", upstream="users", backend="http://10.0.0.1:80", fields=DRAIN) == [(True, {})]
    assert play.workers[0].commands() == []  # the monitor sends it to workers that serve
    first, second = reload(play)
    commands = first.commands()
    assert commands.index("override") < commands.index("accept")
    assert received(second, Override) == [Override("users", "10.0.0.1:80", DRAIN)]


def test_a_reset_or_lapsed_override_reaches_nobody(play):
    play.monitor.order("override", upstream="users", backend="10.0.0.1:80", fields={**DRAIN, "until": play.now + 5})
    play.monitor.order("override", upstream="users", backend="10.0.0.2:80", fields=DRAIN)
    play.monitor.order("override", upstream="users", backend="10.0.0.2:80", fields=None)
    play.now += 6
    first, _ = reload(play)
    assert received(first, Override) == []
    assert play.monitor.overrides.report() == []


def test_an_override_is_dropped_once_the_generation_without_its_backend_serves(play, caplog):
    play.monitor.order("override", upstream="users", backend="10.0.0.1:80", fields=DRAIN)
    play.arbiter._reload("SIGHUP")
    first = play.workers[-1]
    first.say(Built([], []))
    first.say(Ready(), Lacks("users", "10.0.0.1:80"))
    assert play.monitor.overrides.report() != []  # the reload may still fail
    first.end()
    assert play.monitor.overrides.report() != []
    first, _ = reload(play)
    first.say(Lacks("users", "10.0.0.1:80"))
    assert play.monitor.overrides.report() == []
    what = "upstream users: generation 3 has no backend 10.0.0.1:80; the override by alice is dropped"
    assert what in caplog.messages


def test_a_log_level_holds_in_all_processes_and_later_ones_until_its_time_is_over(play):
    arguments = {"level": "debug", "logger": "mine", "until": play.now + 60, "author": "alice"}
    ((succeeded, result),) = play.monitor.order("log_level", **arguments)
    assert succeeded
    assert result["log_level"] == {**arguments, "since": play.now}
    assert play.levels[-1] == ("mine", "debug")
    assert received(play.workers[0], LogLevel) == [LogLevel("debug", "mine")]
    first, _ = reload(play)
    assert received(first, LogLevel) == [LogLevel("debug", "mine")]
    play.now += 61
    play.monitor.level.lapse()
    assert play.levels[-1] == ("", "")
    assert received(first, LogLevel) == [LogLevel("", "")]
    assert play.monitor.level.report() is None


def test_a_log_level_that_is_over_ends_the_one_that_holds(play):
    play.monitor.order("log_level", level="debug", until=play.now + 60)
    assert play.monitor.order("log_level", level="debug", until=play.now) == [(True, {"log_level": None})]
    assert play.monitor.order("log_level", level="loud", until=play.now + 60)[0][0] is False


def test_a_stack_goes_to_those_that_ask_and_not_to_the_log(play, caplog):
    worker = play.workers[0]
    first = play.monitor.order("stack", pid=worker.pid)
    second = play.monitor.order("stack", pid=worker.pid)
    assert worker.signals == [STACK_SIGNAL]
    worker.write(b'Current thread:\n  File "mine.py", line 3 in endless\n')
    play.advance(workers._STACK_SECONDS)
    assert first == second == [(True, {"stack": ["Current thread:", '  File "mine.py", line 3 in endless']})]
    play.arbiter._workers.kill_with_stack(next(iter(play.arbiter._workers)))
    worker.end()
    assert "endless" not in caplog.text
    assert play.monitor.order("stack", pid=worker.pid)[0][0] is False
