"""`gproxy backend` on a gateway with two workers: changes under load, until when they hold, and what the commands say."""

import re
import signal
import sys
import threading
from collections import Counter
from contextlib import contextmanager

import forked
import pytest
from admin_listener import client_of, status_of, two_workers

from gproxy.testing.backends import Backend
from gproxy.testing.gateway import RunningGateway, eventually, free_port

USERS = """
[route:users]
path = /users
timeout = 30s
upstream = users
[upstream:users]
backends = {one}, {two}
"""


class Scene:
    """The gateway, and two backends that answer at once, but /users/held when the gate is open."""

    def __init__(self, folder, one, two):
        self.one, self.two = one, two
        self.port = free_port()
        bind = f"unix:{{tmp}}/admin.sock, 127.0.0.1:{self.port}"
        self.gateway = RunningGateway(two_workers(bind) + USERS.format(one=one.url, two=two.url), folder)

    def run(self, *arguments, place=None):
        """Run a command; return its exit code, what it prints, and what it says on standard error."""
        place = place if place is not None else ("--config", str(self.gateway.config))
        command = [sys.executable, "-m", "gproxy", *arguments, *place]
        done = forked.run(command, cwd=self.gateway.folder, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    def change(self, *action):
        """Change the first backend."""
        return self.run("backend", "users", place_of(self.one), *action)

    def shares(self, count):
        """How many of so many requests each backend gets, over connections of their own."""
        before = len(self.one.requests), len(self.two.requests)
        assert {self.gateway.get(f"/users/{number}").status for number in range(count)} == {200}
        return len(self.one.requests) - before[0], len(self.two.requests) - before[1]


def place_of(backend):
    return backend.url.rpartition("/")[2]


@pytest.fixture(scope="module")
def gate():
    return threading.Event()


@pytest.fixture(scope="module")
def scene(tmp_path_factory, gate):
    def script(peer, backend):
        while (request := peer.read_request()) is not None:
            backend.requests.append(request)
            if request.line.startswith("GET /users/held "):
                gate.wait(30)
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    with Backend(script) as one, Backend(script) as two:
        scene = Scene(tmp_path_factory.mktemp("backend"), one, two)
        with scene.gateway as gateway:
            status_of(client_of(gateway))
            yield scene


@pytest.fixture(autouse=True)
def as_in_the_file(scene):
    yield
    scene.change("reset")


@contextmanager
def load(gateway):
    """Send requests all the time; yield the count of the statuses, which is complete at the end."""
    ended, statuses = threading.Event(), Counter()

    def send():
        while not ended.is_set():
            statuses[gateway.get("/users/load").status] += 1

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_a_backend_is_drained_under_load_and_the_command_waits_for_its_last_request(scene, gate):
    held = [threading.Thread(target=scene.gateway.get, args=("/users/held",)) for _ in range(4)]
    for thread in held:
        thread.start()
    eventually(lambda: paths(scene.one).count("/users/held") and sum_held(scene) == 4, "held requests at both")
    with load(scene.gateway) as statuses:
        code, _, errors = scene.change("drain", "--for", "600ms", "--wait")
        assert (code, bool(re.search(r": [1-4] requests still active", errors))) == (1, True), errors
        scene.change("drain")
        before = len(scene.one.requests)
        threading.Timer(0.3, gate.set).start()
        code, text, errors = scene.change("drain", "--wait")
        assert (code, errors) == (0, "")
        assert text == f"users {place_of(scene.one)}: drain, in 2 workers\n"
        after = statuses.total()
        eventually(lambda: statuses.total() > after + 10, "requests while the backend is drained")
        assert len(scene.one.requests) == before
    for thread in held:
        thread.join()
    assert set(statuses) == {200}


def paths(backend):
    return [request.line.split(" ")[1] for request in backend.requests]


def sum_held(scene):
    return sum(paths(backend).count("/users/held") for backend in (scene.one, scene.two))


def test_a_weight_changes_the_shares_in_every_worker_at_once(scene):
    one, two = scene.shares(32)
    assert abs(one - two) <= 4
    assert scene.change("weight=3")[0] == 0
    one, two = scene.shares(32)  # of two workers, each in the midst of a cycle
    assert one == pytest.approx(24, abs=3)
    line = scene.gateway.wait_for_line("-> weight 3")
    assert re.search(r"of upstream users by uid \d+ \(pid \d+\): healthy, weight 1 -> weight 3$", line)


def test_a_change_lapses_at_its_time_and_a_restart_forgets_those_without(scene):
    code, text, _ = scene.change("down", "--for", "1s")
    assert (code, " until " in text) == (0, True)
    assert scene.shares(8)[0] == 0
    eventually(lambda: scene.shares(8)[0], "the end of the change")
    assert scene.change("down")[0] == 0
    assert scene.shares(8)[0] == 0
    scene.gateway.signal(signal.SIGTERM)
    assert scene.gateway.wait() == 0
    scene.gateway.__exit__(None, None, None)
    scene.gateway.__enter__()
    status_of(client_of(scene.gateway))
    assert scene.shares(8)[0] > 0


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ("backend user 127.0.0.1:1 drain", 1, "404 Not Found: unknown upstream 'user'; did you mean 'users'?"),
        ("backend users 127.0.0.1:1 drain", 1, "404 Not Found: upstream users has no backend '127.0.0.1:1'"),
        ("backend users 127.0.0.1:1 dran", 2, "expected drain, up, down, weight=N or reset; found 'dran'"),
        ("backend users 127.0.0.1:1 weight=x", 2, "weight: expected a number; found 'x'"),
        ("backend users 127.0.0.1:1 weight=9999999999", 1, "400 Bad Request: weight: expected a number from 0 to"),
        ("backend users 127.0.0.1:1 drain --for soon", 2, "--for: "),
        ("ps --id 0000", 1, "404 Not Found: "),
        ("ps --older soon", 2, "'soon' is no time; expected one such as 2s"),
        ("ps --phase sleep", 1, "400 Bad Request: phase: "),
        ("explain 0000", 1, "no request 0000: 404 Not Found: "),
    ],
)
def test_a_command_says_what_is_unknown(scene, arguments, code, text):
    found = scene.run(*arguments.split())
    assert found[:2] == (code, "")
    assert text in found[2]
    assert found[2].count("\n") == 1, found[2]


COMMANDS = (
    "ps",
    "admin reload",
    "top --json",
    "backend users 127.0.0.1:1 drain",
    "routes --live",
    "explain 0000",
    "dashboard",
)


NO_ANSWER = {
    "no admin": (1, "there is no [admin] bind, so the gateway cannot be asked; write bind = unix:PATH in [admin]"),
    "no gateway": (1, "admin.sock does not answer: No such file or directory; is the gateway running, and is this its"),
    "no file": (2, "no.ini: cannot be read: no such file or directory"),
    "no token": (1, "401 Unauthorized: "),
    "nothing": (2, "missing: --config"),
}


@pytest.mark.parametrize("why", NO_ANSWER)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_why_there_is_no_answer(scene, command, why, tmp_path):
    none, gone = tmp_path / "none.ini", tmp_path / "gone.ini"
    none.write_text("[route:a]\npath = /\nrespond = 200\n")
    gone.write_text(f"[admin]\nbind = unix:{tmp_path}/admin.sock\n{none.read_text()}")
    place = {
        "no admin": ("--config", str(none)),
        "no gateway": ("--config", str(gone)),
        "no file": ("--config", str(tmp_path / "no.ini")),
        "no token": ("--admin", f"http://127.0.0.1:{scene.port}"),
        "nothing": (),
    }[why]
    code, text = NO_ANSWER[why]
    found = scene.run(*command.split(), place=place)
    assert found[:2] == (code, ""), found
    assert text in found[2]
    assert found[2].count("\n") == 1, found[2]


def test_ps_says_that_there_is_no_such_route(scene):
    code, text, errors = scene.run("ps", "--route", "user")
    assert (code, errors) == (1, "there is no route 'user'; did you mean 'users'?\n")
    assert text.endswith("0 requests in flight\n")
    assert scene.run("ps", "--route", "users")[::2] == (0, "")
