"""The plugin in a pytest of its own: which settings its fixtures take, and how a test fails."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
INI = "[upstream:users]\nbackends = http://10.0.0.1:81\n[route:users]\npath = /users\nupstream = users\n"


class Project:
    """A folder with tests, and pytest that runs them; gproxy is installed by its metadata."""

    def __init__(self, folder):
        self.folder = folder
        installed = folder / "site" / "gproxy-0.dist-info"
        installed.mkdir(parents=True)
        (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: gproxy\nVersion: 0\n")
        (installed / "entry_points.txt").write_text(entry_points())
        (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def run(self, *arguments):
        """The exit status of pytest, and what it prints."""
        places = f"{self.folder / 'site'}:{ROOT}"
        environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": places, "GPROXY_PURE": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *arguments], cwd=self.folder, env=environ, capture_output=True, text=True
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr


def entry_points():
    """The entry points of pyproject.toml, as an installation has them."""
    import tomllib

    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    return "".join(
        f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in found.items()) for group, found in groups.items()
    )


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_the_settings_are_beside_the_test_or_above_it(project):
    project.write("gproxy.ini", INI)
    project.write("tests/test_it.py", "def test_it(gproxy):\n    assert gproxy.get('/users').status == 200\n")
    status, output = project.run()
    assert (status, "1 passed" in output) == (0, True), output


def test_the_marker_names_settings_and_their_mistakes(project):
    project.write("other.ini", INI)
    project.write(
        "test_it.py",
        "import pytest\n"
        "@pytest.mark.gproxy(file='other.ini')\n"
        "def test_file(gproxy):\n    assert gproxy.explain('/users').route == 'users'\n"
        "@pytest.mark.gproxy('[route:a]\\npath = /\\nrespnd = 200\\n')\n"
        "def test_text(gproxy):\n    pass\n"
        "def test_none(gproxy):\n    pass\n",
    )
    status, output = project.run()
    assert (status, "1 passed, 2 errors" in output) == (1, True), output
    assert "@pytest.mark.gproxy:3: [route:a] respnd: unknown option; did you mean 'respond'?" in output, output
    assert "no gproxy.ini beside" in output


def test_handlers_beside_the_test_are_found_and_a_leak_fails_the_test(project):
    project.write(
        "handlers.py",
        "from gproxy import Response\ndef drop(request, next):\n    next(request)\n    return Response(204)\n",
    )
    project.write("gproxy.ini", INI + "handlers = drop\n[handler:drop]\nuse = handlers:drop\n")
    project.write(
        "test_it.py",
        "import sys\nfrom gproxy.testing import answer\n"
        "def test_leak(gproxy):\n    gproxy.backend('users', answer(200, [b'a', b'b']))\n    gproxy.get('/users/7')\n"
        "def test_whole(gproxy):\n    gproxy.backend('users', answer(200, b'a'))\n    gproxy.get('/users/7')\n",
    )
    status, output = project.run()
    assert (status, "1 failed, 1 passed" in output) == (1, True), output
    assert (
        "a connection to backend 10.0.0.1:81 of upstream users was leased until the end of GET /users/7 (route users)"
        in output
    )


def test_a_report_shows_the_test_and_no_source_of_the_kit(project):
    project.write("gproxy.ini", INI)
    project.write(
        "test_it.py",
        "def broken(request):\n    raise KeyError('of the test')\n"
        "def test_warning(gproxy):\n    gproxy.expect_warning('never comes')\n    gproxy.get('/users')\n"
        "def test_backend(gproxy):\n    gproxy.backend('users', broken)\n    gproxy.get('/users')\n"
        "def test_name(gproxy):\n    gproxy.backend('user')\n"
        "def test_answer(gproxy):\n    gproxy.backend('users', 200)\n"
        "def test_token(gproxy):\n    gproxy.token('alice')\n",
    )
    status, output = project.run()
    assert (status, "5 failed" in output) == (1, True), output
    assert "not in the error log, but expected: never comes" in output
    assert "raise KeyError('of the test')" in output, output
    assert "did you mean 'users'?" in output
    for source in ("plugin.py:", "gateway.py:", "self.", "_raise_failure"):
        assert source not in output, output


OTHER = """
import random, socket, sys, threading, time
BEFORE = socket.socket, threading.Thread, time.sleep, time.time, random.random
def test_nothing_is_imported_or_patched():
    loaded = [name for name in sys.modules if name.split(".")[0] in ("gevent", "urllib3")]
    loaded += [name for name in sys.modules if name.startswith("gproxy.") and name not in ("gproxy.testing", "gproxy.testing.plugin", "gproxy.compiled")]
    assert loaded == []
"""
USING = """
import random, socket, sys, threading, time
import test_a_other
def test_kit(gproxy):
    assert gproxy.get("/users").status == 200
def test_nothing_is_patched():
    assert (socket.socket, threading.Thread, time.sleep, time.time, random.random) == test_a_other.BEFORE
    assert socket.socket.__module__ == "socket" and threading.active_count() <= 1 + ("xdist" in sys.modules)
"""


@pytest.mark.parametrize("arguments", [(), ("-n", "2", "--dist", "loadfile")])
def test_it_lives_beside_other_suites(project, arguments):
    project.write("gproxy.ini", INI)
    project.write("test_a_other.py", OTHER)
    project.write("test_b_using.py", USING)
    status, output = project.run(*arguments)
    assert (status, "3 passed" in output) == (0, True), output


WITHOUT_SOCKETS = """
import sys, threading, time
import pytest
import gproxy.testing.kit.gateway  # urllib3 tries a socket of IPv6 when it is imported
from gproxy.testing import answer, refused, reset, slow

USED = []
sys.addaudithook(lambda event, args: USED.append(event) if event.startswith("socket.") else None)

@pytest.mark.gproxy('''
[gateway]
timeout = 3s
handlers = limit
[handler:limit]
use = rate_limit
limit = 200/m
[upstream:users]
backends = http://10.0.0.1:81, http://users.internal:82
[route:users]
path = /users
upstream = users
''')
def test_many(gproxy):
    for pattern in "ejected for", "refuses connections", "in time", "closed the connection":
        gproxy.expect_warning(pattern)
    users = gproxy.backend("users", answer(200, b"{}"))
    began = time.process_time()
    statuses = [gproxy.get(f"/users/{n}").status for n in range(498)]
    gproxy.clock.advance(3600)
    users.answer_with(slow(5))
    statuses.append(gproxy.get("/users").status)
    users.answer_with(reset(), answer(200))
    statuses.append(gproxy.get("/users").status)
    print("CPU", time.process_time() - began)
    assert [statuses.count(one) for one in (200, 429, 504)] == [201, 298, 1]
    assert gproxy.line["tries"] == 2
    gproxy.backend("users", refused(), at="10.0.0.1:81")
    users.answer_with(answer(200))
    assert {gproxy.get("/users").status for _ in range(10)} == {200}
    assert gproxy.upstreams["users"][0]["state"] == "unhealthy"
    assert USED == []
    assert threading.active_count() == 1
"""


def test_a_whole_chain_needs_no_socket_and_little_time(project):
    project.write("test_it.py", WITHOUT_SOCKETS)
    status, output = project.run("-s")
    assert (status, "1 passed" in output) == (0, True), output
    seconds = float(output.partition("CPU ")[2].partition("\n")[0])
    assert seconds < 1.0


BUILT = """
import time
def test_it(gproxy):
    from pathlib import Path
    from gproxy.testing.kit.gateway import KitGateway
    spent = []
    for _ in range(5):
        began = time.process_time()
        with KitGateway(None, Path("gproxy.ini").resolve()):
            spent.append(time.process_time() - began)
    began = time.process_time()
    for _ in range(200):
        gproxy.get("/users")
    print("CPU", min(spent), (time.process_time() - began) / 200, "")
"""


def test_a_gateway_takes_thirty_milliseconds_and_a_request_one(project):
    project.write("gproxy.ini", INI)
    project.write("test_it.py", BUILT)
    _, output = project.run("-s")
    gateway, request = map(float, output.partition("CPU ")[2].split(" ")[:2])
    assert gateway < 0.030
    assert request < 0.001


REAL = """
import pytest
@pytest.mark.gproxy('''[upstream:users]
backends = http://{backend}
[route:users]
path = /
upstream = users
handlers = own
[handler:own]
use = handlers:own
''')
def test_real(gproxy_process, gproxy_backend):
    assert gproxy_process.get("/users")["x-own"] == "yes"
    assert gproxy_backend.requests[0].line == "GET /users HTTP/1.1"
def test_clock(gproxy_clock):
    gproxy_clock.advance(3)
    assert gproxy_clock() == gproxy_clock.now == 1_000_003.0
"""


def test_real_processes_and_backends_are_fixtures_too(project):
    project.write(
        "handlers.py",
        "def own(request, next):\n    response = next(request)\n    response.headers['X-Own'] = 'yes'\n    return response\n",
    )
    project.write("test_it.py", REAL)
    status, output = project.run()
    assert (status, "2 passed" in output) == (0, True), output
