"""An arbiter whose workers are scripts: the test sends their messages and ends them; no process is started."""

import os
import signal
import socket
from collections import deque

import pytest

from gproxy.arbiter import arbiter as arbiter_module
from gproxy.arbiter import event_loop, shutdown, staff, worker_process, workers
from gproxy.arbiter.arbiter import Arbiter
from gproxy.arbiter.control import Control
from gproxy.arbiter.generations import generation, probation
from gproxy.arbiter.messages import COMMANDS, Built, Ready, Reloads
from gproxy.arbiter.spawn import Spawned
from gproxy.observe import log


class Worker:
    """The worker's end of a control socket."""

    def __init__(self, scene, number, pid, sock):
        self.scene, self.number, self.pid = scene, number, pid
        sock.setblocking(False)
        self.control = Control(sock, COMMANDS)
        self.signals = []
        #: What the arbiter has reported of its reloads.
        self.reloads = []

    def say(self, *messages):
        """Send the messages in one piece; the arbiter reads them."""
        for message in messages:
            self.control.send(message)
        self.scene.step()

    def write(self, line):
        self.control.socket.send(line)
        self.scene.step()

    def commands(self):
        """Return the commands since the last call, as texts; `reloads` has the reports of reloads."""
        found = []
        while received := self.control.receive():  # a read ends behind a message with descriptors
            self.reloads += [message for message in received if isinstance(message, Reloads)]
            found += [str(message) for message in received if not isinstance(message, Reloads)]
        for fd in self.control.take_fds():
            os.close(fd)
        return found

    def end(self, status=0):
        """End with this code, or by SIGKILL if the arbiter has sent it."""
        self.control.close()
        self.scene.ended.append((self.pid, signal.SIGKILL if signal.SIGKILL in self.signals else status << 8))
        self.scene.arbiter._workers.reap()
        self.scene.advance(0)


class Scene:
    """An arbiter with scripted workers and a clock of its own."""

    def __init__(self, folder, monkeypatch, server=""):
        self.now = 1000.0
        self.workers = []
        self.sockets = []
        #: The log levels that the arbiter has set.
        self.levels = []
        self.ended = deque()
        self.config = folder / "gproxy.ini"
        self.config.write_text(f"[server]\nbind = 127.0.0.1:1\n{server}\n")
        for module in (event_loop, probation, shutdown, staff, worker_process, workers):
            monkeypatch.setattr(module, "monotonic", lambda: self.now)
        for module in (arbiter_module, workers):
            monkeypatch.setattr(module, "spawn", self.spawn)
        monkeypatch.setattr(arbiter_module, "name_process", lambda name: None)
        monkeypatch.setattr(log, "setup", lambda level, errors="text": self.levels.append(level))
        monkeypatch.setattr(generation, "listen", self.listen)
        monkeypatch.setattr(generation, "silence", lambda address, sock: None)
        monkeypatch.setattr(os, "waitpid", lambda pid, options: self.ended.popleft() if self.ended else (0, 0))
        monkeypatch.setattr(os, "kill", self.kill)
        self.arbiter = Arbiter(str(self.config), {}, self.spawn(1, 1))
        self.arbiter._begin(self.arbiter._first)

    def spawn(self, generation, number):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.sockets += ours, theirs
        self.workers.append(Worker(self, number, 5000 + len(self.workers), theirs))
        return Spawned(generation, number, self.workers[-1].pid, ours)

    def listen(self, address):
        self.sockets.append(socket.socket())
        return self.sockets[-1]

    def kill(self, pid, number):
        next(worker for worker in self.workers if worker.pid == pid).signals.append(number)

    def close(self):
        self.arbiter._loop._selector.close()
        os.close(self.arbiter._workers._state.fd)
        for sock in self.sockets:
            sock.close()

    def step(self):
        """Let the arbiter read what the workers have sent."""
        for key, _ in self.arbiter._loop._selector.select(0):
            key.data()

    def advance(self, seconds):
        """Let time pass, and call the timers that are due, in steps: the arbiter wakes each second."""
        passed = 0.0
        while True:
            step = min(seconds - passed, 1.0)
            self.now += step
            passed += step
            self.arbiter._loop._call_due()
            if passed >= seconds:
                return

    def serve(self):
        """Let the workers of the next generation, which the last one belongs to, build, open and serve."""
        first = self.workers[-1]
        first.say(Built([], []))
        others = self.workers[self.workers.index(first) + 1 :]
        for worker in others:
            worker.say(Built([], []))
        for worker in (first, *others):
            worker.say(Ready())
        for worker in self.workers:
            worker.commands()
        return [first, *others]


@pytest.fixture
def scene(tmp_path, monkeypatch, caplog):
    """Make an arbiter with these lines in [server]."""
    caplog.set_level("INFO")
    found = []

    def make(server=""):
        found.append(Scene(tmp_path, monkeypatch, server))
        return found[0]

    yield make
    for scene in found:
        scene.close()
