"""The monitor process as the arbiter keeps it: its start, its replacement and its ends; no process is started."""

import logging
import os
import signal
import socket
from types import SimpleNamespace

import pytest

from gproxy.arbiter import event_loop
from gproxy.arbiter import messages as worker_messages
from gproxy.arbiter.control import Control
from gproxy.arbiter.generations.generation import Generation
from gproxy.arbiter.monitor import monitor_process
from gproxy.arbiter.monitor.admin_sockets import close_sockets
from gproxy.arbiter.monitor.messages import (
    MONITOR_COMMANDS,
    Attach,
    Beat,
    Configure,
    Leave,
    Logged,
    Order,
    Outcome,
    Report,
    Serving,
)
from gproxy.arbiter.monitor.monitor_process import MonitorProcess
from gproxy.arbiter.spawn import CannotStartError
from gproxy.arbiter.worker_process import ExitStatus, WorkerState


class Monitor:
    """The monitor's end of a control socket."""

    def __init__(self, scene, pid, sock):
        self.scene, self.pid = scene, pid
        sock.setblocking(False)
        self.control = Control(sock, MONITOR_COMMANDS)
        self.signals = []

    def say(self, *messages):
        """Send the messages; the arbiter reads them."""
        for message in messages:
            self.control.send(message)
        self.scene.step()

    def received(self, *kinds):
        """The messages of these kinds since the last call."""
        found = []
        while messages := self.control.receive():  # a read ends behind a message with descriptors
            found += messages
        return [message for message in found if isinstance(message, kinds)]

    def fds(self):
        """The number of the descriptors since the last call."""
        fds = self.control.take_fds()
        for fd in fds:
            os.close(fd)
        return len(fds)

    def end(self, code=1):
        """End with this code."""
        self.control.close()
        self.scene.watched.pop(self.pid)(ExitStatus.of(code << 8))


class Scene:
    """A MonitorProcess with a clock of its own; the scene is its arbiter and its workers, too."""

    def __init__(self, folder, monkeypatch):
        self.now, self.folder = 1000.0, folder
        self.monitors = []
        #: True if no process can be started.
        self.is_out_of_memory = False
        self.workers = []
        self.watched = {}
        self.orders = []
        self.memory = os.open(os.devnull, os.O_RDONLY)
        for module in (event_loop, monitor_process):
            monkeypatch.setattr(module, "monotonic", lambda: self.now)
        monkeypatch.setattr(monitor_process, "spawn_module", self.spawn)
        monkeypatch.setattr(os, "kill", self.kill)
        self.loop = event_loop.EventLoop()
        self.process = MonitorProcess(self.loop, self, self)

    def __iter__(self):
        return iter(self.workers)

    def watch(self, pid, ended):
        self.watched[pid] = ended

    def report(self):
        return {"generation": 7}

    def reload(self, reload):
        self.orders.append(reload)

    def spawn(self, module, what):
        if self.is_out_of_memory:
            raise CannotStartError(OSError(12, "Cannot allocate memory"), what)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.monitors.append(Monitor(self, 5000 + len(self.monitors), theirs))
        return self.monitors[-1].pid, ours

    def kill(self, pid, number):
        next(one for one in self.monitors if one.pid == pid).signals.append(number)

    def serve(self, number, admin="", server=""):
        """Let a generation with an admin listener serve; return the last monitor."""
        path = self.folder / "gproxy.ini"
        path.write_text(f"[server]\n{server}\n[admin]\nbind = unix:{self.folder}/admin.sock\n{admin}\n")
        self.use(Generation(number, str(path), {}, ()))
        return self.monitors[-1]

    def use(self, generation):
        self.process.prepare(generation.admin)
        self.process.serve(generation)

    def step(self):
        """Let the arbiter read what the monitors have sent."""
        for key, _ in self.loop._selector.select(0):
            key.data()

    def advance(self, seconds):
        """Let time pass, and call the timers that are due, each at its time."""
        end = self.now + seconds
        while self.loop._timers and self.loop._timers[0][0] <= end:
            self.now = max(self.now, self.loop._timers[0][0])
            self.loop._call_due()
        self.now = end

    def close(self):
        logging.getLogger("gproxy").removeHandler(self.process._records)
        self.loop._selector.close()
        for monitor in self.monitors:
            monitor.control.close()
        for control in (self.process._control, *self.process._leaving.values()):
            if control is not None:
                control.close()
        close_sockets(self.process._sockets, {})
        os.close(self.memory)


@pytest.fixture
def scene(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    scene = Scene(tmp_path, monkeypatch)
    yield scene
    scene.close()


def worker_in(state):
    sent = []
    return SimpleNamespace(
        state=state, generation_number=1, number=2, pid=77, sent=sent, send=lambda message, fds=(): sent.append(message)
    )


def test_it_starts_with_settings_sockets_records_and_lines_to_the_workers_that_are_ready(scene, caplog):
    scene.workers = [worker_in(WorkerState.SERVING), worker_in(WorkerState.OPENING)]
    scene.process._records.attach(logging.getLogger("gproxy"))
    logging.getLogger("gproxy").warning("before it starts")
    monitor = scene.serve(1)
    configured, reported, *rest = monitor.received(Configure, Report, Logged, Attach)
    assert (configured.generation, configured.path) == (1, str(scene.folder / "gproxy.ini"))
    assert reported.state["generation"] == 7
    assert [type(message) for message in rest] == [Logged, Attach]
    assert rest[0].fields["message"] == "before it starts"
    assert monitor.fds() == 4  # the settings, the memory, the socket, the line
    assert [len(worker.sent) for worker in scene.workers] == [1, 0]
    assert isinstance(scene.workers[0].sent[0], worker_messages.WorkerLine)
    monitor.say(Serving())
    assert caplog.messages[-1] == f"monitor: serves on unix:{scene.folder}/admin.sock"


def test_without_admin_and_traces_there_is_none(scene):
    path = scene.folder / "none.ini"
    path.write_text("[server]\n")
    scene.use(Generation(1, str(path), {}, ()))
    assert scene.monitors == []


def test_a_reload_of_other_settings_reaches_the_same_monitor(scene):
    monitor = scene.serve(1)
    monitor.received()
    assert scene.serve(2, server="grace = 5s") is monitor
    (configured,) = monitor.received(Configure, Leave)
    assert configured.generation == 2


def test_a_changed_admin_section_replaces_it_and_the_old_one_answers_its_orders(scene, caplog):
    old = scene.serve(1)
    old.say(Order(3, "reload", {"author": "alice"}))
    new = scene.serve(2, admin="title = other")
    assert new is not old
    assert [type(message) for message in old.received(Configure, Leave)] == [Configure, Leave]
    (reload,) = scene.orders
    for reply in reload.replies:
        reply(True, {"generation": 2})
    (outcome,) = old.received(Outcome)
    assert (outcome.number, outcome.succeeded) == (3, True)
    assert new.received(Outcome) == []
    old.end(0)
    scene.advance(100)
    assert (old.signals, len(scene.monitors)) == ([], 2)
    assert not [message for message in caplog.messages if "starting another one" in message]


def test_an_old_one_that_does_not_leave_is_killed(scene):
    old = scene.serve(1, server="worker_timeout = 0s")
    scene.serve(2, admin="title = other", server="worker_timeout = 0s")
    scene.advance(89)
    assert old.signals == []
    scene.advance(2)
    assert old.signals == [signal.SIGKILL]


def test_one_that_sends_no_heartbeat_is_killed_and_one_that_starts_has_a_minute(scene, caplog):
    monitor = scene.serve(1, server="worker_timeout = 2s")
    scene.advance(59)
    assert monitor.signals == []
    monitor.say(Serving())
    for _ in range(5):
        scene.advance(1.5)
        monitor.say(Beat())
    assert monitor.signals == []
    scene.advance(3.5)
    assert monitor.signals == [signal.SIGKILL]
    assert caplog.messages[-1] == "monitor (pid 5000) has sent no heartbeat for 2 s; killing it"


def test_one_that_ends_is_replaced_after_a_pause_that_grows_while_they_end_early(scene, caplog):
    monitor = scene.serve(1)
    for pause in (0.1, 1.0, 5.0, 30.0, 30.0):
        count = len(scene.monitors)
        monitor.end()
        assert caplog.messages[-1].endswith(f"exited with status 1; starting another one in {pause:g} s")
        scene.advance(pause - 0.05)
        assert len(scene.monitors) == count
        scene.advance(0.1)
        assert len(scene.monitors) == count + 1
        monitor = scene.monitors[-1]
        assert monitor.received(Configure)
    scene.advance(50)
    monitor.say(Serving())
    scene.advance(11)
    monitor.end()
    assert caplog.messages[-1].endswith("starting another one in 0.1 s")


def test_one_that_cannot_be_started_is_tried_again(scene, caplog):
    scene.is_out_of_memory = True
    with pytest.raises(IndexError):
        scene.serve(1)
    assert caplog.messages[-1] == "monitor: cannot start a monitor: Cannot allocate memory; retrying in 0.1 s"
    scene.is_out_of_memory = False
    scene.advance(0.1)
    (monitor,) = scene.monitors
    assert monitor.received(Configure)


def test_none_starts_once_the_gateway_stops(scene):
    monitor = scene.serve(1)
    monitor.end()
    scene.process.close()
    scene.advance(100)
    assert scene.monitors == [monitor]
