"""Requests under way over several workers: one count for all, through reloads, stops and kills."""

import os
import signal
from contextlib import ExitStack, contextmanager

import pytest

from gproxy.testing.backends import Actor, Held
from gproxy.testing.gateway import RunningGateway, eventually

INI = """
[server]
workers = WORKERS
grace = 20s
[gateway]
handlers = health
timeout = 60s
[handler:health]
cache = 0s
[route:one]
path = /one
upstream = one
handlers = concurrency
[upstream:one]
backends = BACKEND
[handler:concurrency]
limit = 6
key = header:X-User
[log]
access = log/access.log
"""


class Scene:
    """A gateway with so many workers, before a backend that keeps its answers back until `go` is set."""

    def __init__(self, folder, workers):
        self.held = Held()
        self.backend = Actor(self.held)
        self.workers = workers
        self._ini = INI.replace("WORKERS", str(workers)).replace("BACKEND", self.backend.url)
        self._folder = folder

    def __enter__(self):
        self._stack = ExitStack()
        self._stack.enter_context(self.backend)
        self.gateway = self._stack.enter_context(RunningGateway(self._ini, self._folder))
        self._stack.callback(self.held.go.set)
        self.gateway.wait_for_answers_of(self.workers)
        return self

    def __exit__(self, *error):
        self._stack.__exit__(*error)

    @contextmanager
    def asking(self, count, user="alice"):
        """So many requests under way; all that the backend gets."""
        while self.held.asked.acquire(blocking=False):  # of requests that have ended
            pass
        with ExitStack() as stack:
            wires = [stack.enter_context(self.gateway.connect()) for _ in range(count)]
            for wire in wires:
                wire.send(f"GET /one HTTP/1.1\r\nHost: a\r\nX-User: {user}\r\nConnection: close\r\n\r\n")
                assert self.held.asked.acquire(timeout=15)
            yield wires

    def statuses(self, count, user="alice"):
        return {self.gateway.get("/one", f"X-User: {user}").status for _ in range(count)}


@pytest.fixture(params=[1, 2])
def scene(tmp_path, request):
    with Scene(tmp_path, request.param) as found:
        yield found


def test_the_limit_holds_over_all_workers_and_over_reloads(scene):
    with scene.asking(4) as early:
        scene.gateway.reload()
        with scene.asking(2) as late:  # on connections to the new generation
            assert scene.statuses(8) == {429}
            scene.gateway.reload()
            assert scene.statuses(8) == {429}
            scene.held.go.set()
            assert [wire.read_response().status for wire in (*early, *late)] == [200] * 6
    assert scene.statuses(20) == {200}
    scene.held.go.clear()
    with scene.asking(6):
        assert scene.statuses(8) == {429}


def test_a_stop_lets_all_that_are_under_way_finish(scene):
    with scene.asking(6) as wires:
        scene.gateway.signal(signal.SIGTERM)
        scene.gateway.wait_for_line("stopping")
        scene.held.go.set()
        assert [wire.read_response().status for wire in wires] == [200] * 6
    assert scene.gateway.wait() == 0


def test_killed_workers_hold_no_places(scene):
    for _ in range(3):
        with scene.asking(6) as wires:
            for pid in scene.gateway.workers:
                os.kill(pid, signal.SIGKILL)
            assert not any(wire.read_response().status for wire in wires)
            eventually(lambda: len(scene.gateway.workers) == scene.workers, "other workers")
            scene.gateway.wait_for_answers_of(scene.workers)
    scene.held.go.set()
    assert scene.statuses(12) == {200}


def test_a_killed_worker_takes_only_its_own_requests_with_it(tmp_path):
    with Scene(tmp_path, 2) as scene, scene.asking(6) as wires:
        assert scene.statuses(4) == {429}
        os.kill(scene.gateway.workers[0], signal.SIGKILL)
        ended = [wire for wire in wires if _has_ended(wire)]
        with scene.asking(len(ended)):
            assert scene.statuses(4) == {429}


def _has_ended(wire):
    wire.sock.settimeout(1.0)
    try:
        return wire.is_closed()
    except TimeoutError:
        return False
    finally:
        wire.sock.settimeout(15)
