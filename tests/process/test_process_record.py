"""`gproxy record` from outside: which requests are in the file, what is not, and how a recording ends."""

import base64
import contextlib
import gzip
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time

import forked
import pytest
from admin_listener import READ_TOKEN, TOKEN, client_of, monitors, status_of
from started import started

from gproxy.recording.har import open_recording
from gproxy.recording.json_lines import Recording
from gproxy.testing.backends import Backend
from gproxy.testing.gateway import RunningGateway, eventually, free_port

#: In every secret, and in nothing else.
MARK = "marked7secret"
#: Held requests are answered once it is open.
GATE = threading.Event()
KEY = "marked7secret-key-0123456789-0123456789"
SETTINGS = """
[server]
workers = 2
[gateway]
timeout = 20s
[log]
access = off
[admin]
bind = unix:{tmp}/admin.sock, 127.0.0.1:{port}
token = {token}
read_token = {read_token}
[handler:jwt]
secret = {key}
forward =
    sub: X-User-ID
    role: X-Role
[route:users]
path = /users
upstream = users
[route:orders]
path = /orders
handlers = jwt
upstream = users
[route:held]
path = /held
upstream = users
[route:resets]
path = /resets
strip_prefix = yes
upstream = users
[upstream:users]
backends = {url}
"""
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nSet-Cookie: sid=marked7secret; Path=/; HttpOnly\r\n"
    b"Location: https://marked7secret:marked7secret@a.test/next?token=marked7secret#access_token=marked7secret\r\n"
    b"X-Own: marked7secret\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    b'2b\r\n{"cards":[{"card":"marked7secret"}],"a":1}\n\r\n0\r\nX-Sum: marked7secret\r\n\r\n'
)


def answer(peer, backend):
    while (request := peer.read_request()) is not None:
        backend.requests.append(request)
        path = request.line.split(" ")[1]
        if path.startswith("/held/events"):
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
            GATE.wait(15)
            peer.send(b"data: 2\n\n")
            peer.close()
            return
        if path.startswith("/held/tunnel"):
            peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            peer.send(peer.read_exactly(4)[::-1])
            peer.close()
            return
        if path.startswith("/held"):
            GATE.wait(15)
        peer.send(ANSWER if "secret" in path else b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")


class Scene:
    """The gateway with two workers, and `gproxy record` beside it."""

    def __init__(self, folder, backend):
        self.folder, self.backend = folder, backend
        self.port = free_port()
        ini = SETTINGS.replace("{port}", str(self.port)).replace("{url}", backend.url).replace("{key}", KEY)
        self.gateway = RunningGateway(ini.replace("{token}", TOKEN).replace("{read_token}", READ_TOKEN), folder)
        self.count = 0

    def command(self, *arguments, name="", place=None):
        self.count += 1
        path = self.folder / (name or f"{self.count}.jsonl")
        place = place if place is not None else ["--config", str(self.gateway.config)]
        return path, [sys.executable, "-m", "gproxy", "record", "-o", str(path), *place, *arguments]

    @contextlib.contextmanager
    def recording(self, *arguments, name="", stop=True):
        """Record what the block does; then end the command as Ctrl-C does."""
        path, command = self.command(*arguments, name=name)
        run = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            first = run.stderr.readline()
            assert "recording in" in first, first + run.stderr.read()
            found = Recorded(path, run)
            yield found
            if stop:
                found.end()
        finally:
            if run.poll() is None:
                run.kill()
            run.communicate()

    def refused(self, *arguments, place=None, name=""):
        path, command = self.command(*arguments, place=place, name=name)
        done = forked.run(command, capture_output=True, text=True, timeout=60)
        return path, done.returncode, done.stderr

    def token(self, user):
        command = [sys.executable, "-m", "gproxy", "token", "--config", str(self.gateway.config), "--sub", user]
        done = forked.run(command, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.strip()


class Recorded:
    """A recording under way, and what is in its file."""

    def __init__(self, path, run):
        self.path, self._run = path, run
        self.code, self.says = None, ""

    def end(self, number=signal.SIGINT):
        if self._run.poll() is None and number:
            self._run.send_signal(number)
        self.out, self.says = self._run.communicate(timeout=30)
        self.code = self._run.returncode

    def wait_for(self, count):
        eventually(lambda: self.path.read_bytes().count(b"\n") > count, f"{count} recorded exchanges")

    @property
    def exchanges(self):
        with open_recording(self.path) as recording:
            return list(recording)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    with Backend(answer) as backend:
        made = Scene(tmp_path_factory.mktemp("record"), backend)
        with made.gateway as gateway:
            status_of(client_of(gateway))
            yield made


def test_requests_of_both_workers_are_recorded_until_ctrl_c(scene):
    with scene.recording() as recorded:
        for number in range(20):
            assert scene.gateway.get(f"/users/{number}", f"X-Number: {number}").body == b"hi"
        recorded.wait_for(20)
    assert recorded.code == 0
    assert "20 exchanges in" in recorded.says
    assert stat.S_IMODE(recorded.path.stat().st_mode) == 0o600
    exchanges = recorded.exchanges
    assert sorted(one.request.target for one in exchanges) == sorted(f"/users/{number}" for number in range(20))
    assert {one.worker for one in exchanges} == {1, 2}
    assert {(one.route, one.upstream, one.status, len(one.attempts)) for one in exchanges} == {
        ("users", "users", 200, 1)
    }
    assert {one.request.body for one in exchanges} == {one.response.body for one in exchanges} == {None}
    with Recording(recorded.path) as recording:
        assert re.fullmatch("sha256:[0-9a-f]{64}", recording.header.settings)
        assert recording.header.pseudonyms


SECRET_REQUEST = """\
POST {path}?key={mark}&{mark}&flag= HTTP/1.1
Host: gateway.test
Authorization: Bearer {token}
Proxy-Authorization: Basic {basic}
Cookie: session={mark}; {mark}
X-Api-Key: {mark}
Referer: https://{mark}:{mark}@a.test/page?token={mark}#{mark}
X-Forwarded-User: {mark}
Content-Type: {kind}
Transfer-Encoding: chunked
Trailer: X-Last

{size:x}
{body}
0
X-Last: {mark}

"""


def send_secrets(scene, path, kind, body):
    fields = {"path": path, "mark": MARK, "kind": kind, "size": len(body), "body": body}
    basic = base64.b64encode(f"alice:{MARK}".encode()).decode()
    raw = SECRET_REQUEST.format(token=scene.token(f"user-{MARK}"), basic=basic, **fields).replace("\n", "\r\n")
    return scene.gateway.ask(raw)


def forms_of(mark):
    """The mark as it is, and its three forms in base64, whatever stands before it."""
    found = [mark.encode()]
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + mark.encode())
        found.append(encoded[-(-shift * 8 // 6) + 1 : -4])
    return [*found, mark.encode().hex().encode()]


@pytest.mark.parametrize("name", ["secrets.jsonl", "secrets.jsonl.gz", "secrets.har"])
def test_no_marked_secret_is_in_the_file(scene, name):
    har = ["--har"] if name.endswith(".har") else []
    hidden = ["--bodies", "--redact", "json:$.cards.card", "--redact", "path:/resets/*"]
    with scene.recording(*har, *hidden, name=name) as recorded:
        body = json.dumps({"cards": [{"card": MARK}, {"card": 4}], "b": 2})
        assert send_secrets(scene, "/orders/secret", "application/json", body).status == 200
        form = f"password={MARK}&b={MARK}"
        assert send_secrets(scene, "/orders/secret", "application/x-www-form-urlencoded", form).status == 200
        assert send_secrets(scene, "/orders/secret", "text/plain", f"card {MARK}").status == 200
        assert send_secrets(scene, f"/resets/{MARK}", "application/json", "{}").status == 200
        assert scene.gateway.get(f"/users/secret;jsessionid={MARK}").status == 200
        for target in (f"/resets/{MARK};v=1", f"http://gateway.test/resets/{MARK}"):
            raw = f"GET {target} HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n"
            assert scene.gateway.ask(raw).status == 200
        time.sleep(0.5)  # the feed of the workers
    assert recorded.code == 0, recorded.says
    data = recorded.path.read_bytes()
    data = gzip.decompress(data) if name.endswith(".gz") else data
    for form in forms_of(MARK):
        assert form not in data
    assert b"user-" not in data
    exchanges = sorted(recorded.exchanges, key=lambda one: one.time)  # each worker feeds its own
    assert len(exchanges) == 7
    _check_json(exchanges[0])
    assert re.fullmatch(rb"password=(~[0-9a-f]{16})&b=\1", exchanges[1].request.body.data)
    assert exchanges[2].request.body.omitted
    assert re.fullmatch(r"/resets/~[0-9a-f]{16}\?.*", exchanges[3].request.target)
    assert re.fullmatch(r"/~[0-9a-f]{16}\?.*", exchanges[3].attempts[0].request.target)


def _check_json(exchange):
    """Equal values have equal pseudonyms, wherever they were."""
    request, attempt = exchange.request, exchange.attempts[0]
    cards = [one["card"] for one in json.loads(request.body.data)["cards"]]
    pseudonym = cards[0]
    assert re.fullmatch("~[0-9a-f]{16}", pseudonym)
    assert cards[1] != pseudonym
    headers = dict(request.headers)
    assert headers["X-Api-Key"] == pseudonym
    assert headers["Cookie"] == f"session={pseudonym}; {pseudonym}"
    assert headers["Host"] == "gateway.test"
    assert headers["Authorization"].startswith("Bearer ~")
    assert f"key={pseudonym}&{pseudonym}&" in request.target
    assert f"/page?token={pseudonym}#{pseudonym}" in headers["Referer"]
    assert request.trailers == [("X-Last", pseudonym)]
    sent = dict(attempt.request.headers)
    assert sent["X-User-ID"] == exchange.user
    assert exchange.user.startswith("~")
    answered = dict(attempt.response.headers)
    assert answered["Set-Cookie"] == f"sid={pseudonym}; Path=/; HttpOnly"
    assert json.loads(attempt.response.body.data) == {"cards": [{"card": pseudonym}], "a": 1}
    assert attempt.response.trailers == exchange.response.trailers == [("X-Sum", pseudonym)]
    assert exchange.response.body == attempt.response.body


def test_the_values_that_are_kept(scene):
    with scene.recording("--keep", "X-Own, page", "--keep", "user") as recorded:
        token = scene.token("alice")
        scene.gateway.get("/orders?page=3&other=4", "X-Own: 5", f"Authorization: Bearer {token}")
        recorded.wait_for(1)
    (exchange,) = recorded.exchanges
    assert (exchange.user, dict(exchange.request.headers)["X-Own"]) == ("alice", "5")
    assert re.fullmatch(r"/orders\?page=3&other=~[0-9a-f]{16}", exchange.request.target)


def test_the_conditions_select(scene):
    with (
        scene.recording("--route", "users", "--path", "*/wanted/*") as by_path,
        scene.recording("--status", "401") as by_status,
        scene.recording("--client", "10.0.0.0/8") as by_client,
        scene.recording("--slower", "10s") as by_time,
    ):
        for path in ("/users/wanted/1", "/users/other", "/orders/wanted/1"):
            scene.gateway.get(path)
        by_path.wait_for(1)
        by_status.wait_for(1)
    assert [one.request.target for one in by_path.exchanges] == ["/users/wanted/1"]
    assert [(one.route, one.status) for one in by_status.exchanges] == [("orders", 401)]
    assert by_client.exchanges == by_time.exchanges == []


@pytest.mark.parametrize(("option", "why"), [(["--limit", "5"], "limit"), (["--for", "1s"], "time")])
def test_a_recording_ends_by_its_limit_and_its_time(scene, option, why):
    with scene.recording(*option, "--json", stop=False) as recorded:
        for number in range(12):
            scene.gateway.get(f"/users/{number}")
        recorded.end(0)
    said = json.loads(recorded.out)
    assert (recorded.code, said["ended"], said["dropped"]) == (0, why, 0)
    assert len(recorded.exchanges) == said["recorded"] == (5 if why == "limit" else 12)


def test_the_recording_goes_on_over_a_reload_and_the_death_of_a_worker(scene):
    with scene.recording() as recorded:
        scene.gateway.get("/users/before")
        scene.gateway.reload()
        asked = 0

        def is_recorded():
            nonlocal asked
            asked += 1
            scene.gateway.get(f"/users/after-{asked}")
            return b"/users/after-" in recorded.path.read_bytes()

        eventually(is_recorded, "a record of the next generation")
        os.kill(scene.gateway.workers[0], signal.SIGKILL)
        status_of(client_of(scene.gateway))
        time.sleep(0.3)
        for number in range(10):
            scene.gateway.get(f"/users/third-{number}")
        eventually(lambda: recorded.path.read_bytes().count(b'"/users/third-') >= 20, "records of the new worker")
    assert recorded.code == 0
    generations = {one.generation for one in recorded.exchanges}
    assert len(generations) == 2


def test_without_the_monitor_the_file_stays_and_the_command_fails(scene):
    with scene.recording(stop=False) as recorded:
        scene.gateway.get("/users/1")
        recorded.wait_for(1)
        os.kill(monitors(scene.gateway)[0], signal.SIGKILL)
        recorded.end(0)
    assert recorded.code == 1
    assert "1 exchange in" in recorded.says
    assert len(recorded.exchanges) == 1
    status_of(client_of(scene.gateway))


def test_an_upload_a_download_and_requests_that_are_not_recorded_pass_unchanged(scene):
    with scene.recording("--bodies", "1KiB", "--route", "users") as recorded:
        body = os.urandom(3_000_000)
        head = f"POST /users HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
        scene.gateway.ask(head.encode() + body)
        assert scene.backend.requests[-1].body == body
        recorded.wait_for(1)
    (exchange,) = recorded.exchanges
    assert (exchange.request.body.size, exchange.request.body.truncated) == (3_000_000, True)
    assert exchange.request.body.data == body[:1024]
    assert exchange.attempts[0].request.body == exchange.request.body


def test_the_right_to_act_is_needed(scene):
    place = ["--admin", f"http://127.0.0.1:{scene.port}"]
    for token, status in ((READ_TOKEN, "403"), ("wrong", "401")):
        os.environ["GPROXY_ADMIN_TOKEN"] = token
        try:
            path, code, says = scene.refused(place=place)
        finally:
            del os.environ["GPROXY_ADMIN_TOKEN"]
        assert (code, path.exists()) == (1, False)
        assert status in says or "read" in says or "token" in says, says


def test_nothing_is_recorded_where_nobody_may_act(tmp_path):
    ini = "[admin]\nbind = unix:{tmp}/admin.sock\nact = no\n[route:all]\npath = /\nrespond = 204\n"
    with RunningGateway(ini, tmp_path) as gateway:
        gateway.wait_for_line("monitor: serves on")
        file = tmp_path / "none.jsonl"
        line = [sys.executable, "-m", "gproxy", "record", "-o", str(file), "--config", str(gateway.config)]
        done = forked.run(line, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, file.exists()) == (1, "", False)
        assert done.stderr.startswith("403"), done.stderr


def test_a_fault_that_ends_the_recording_in_a_worker_is_said(tmp_path):
    (tmp_path / "odd.py").write_text(
        "class Name(str):\n    def encode(self, *_):\n        raise ValueError\n\n\n"
        "def user(request, next):\n    request.user = Name('seven')\n    return next(request)\n"
    )
    ini = (
        "[admin]\nbind = unix:{tmp}/admin.sock\n[handler:odd]\nuse = odd:user\n"
        "[route:odd]\npath = /odd\nhandlers = odd\nrespond = 204\n[route:all]\npath = /\nrespond = 204\n"
    )
    with RunningGateway(ini, tmp_path) as gateway:
        gateway.wait_for_line("monitor: serves on")
        file = tmp_path / "some.jsonl"
        line = [sys.executable, "-m", "gproxy", "record", "-o", str(file), "--config", str(gateway.config)]
        with started(line, stderr=subprocess.PIPE, text=True) as run:
            assert "recording in" in run.stderr.readline()
            assert [gateway.get(path).status for path in ("/", "/odd")] == [204, 204]
            gateway.wait_for_line("this rule ends")
            run.send_signal(signal.SIGINT)
            says = run.communicate(timeout=60)[1]
    assert run.returncode == 1
    assert "1 exchange in" in says
    assert says.endswith("a fault has ended the recording in 1 worker; the error log has it\n")


def test_a_recording_is_audited(scene):
    with scene.recording("--route", "users", "--keep", "page"):
        pass
    line = scene.gateway.wait_for_line("recording by")
    assert "route=users" in scene.gateway.errors
    assert "keep=page" in scene.gateway.errors
    assert "recording ended" in scene.gateway.errors
    assert "uid" in line or "unix" in line, line


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--route", "user"], 1, "unknown route 'user'; did you mean 'users'?"),
        (["--path", "users"], 2, "path: expected a path"),
        (["--status", "abc"], 2, "status: expected statuses such as 5xx,404"),
        (["--client", "a.b"], 2, "client: 'a.b' is no address and no network"),
        (["--sample", "half"], 2, "--sample: expected"),
        (["--bodies", "2MiB"], 2, "--bodies: expected a size up to 1MiB"),
        (["--bodies", "512KiB", "--redact", "json:$.a"], 2, "bodies: expected a size up to 256KiB with json:"),
        (["--keep", "page,*"], 2, "keep: expected the name of a field, a parameter or a cookie, without *; found '*'"),
        (["--redact", "card"], 2, "expected json:$.NAME"),
        (["--redact", "path:users"], 2, "expected path:/PATH/*"),
        (["--limit", "0"], 2, "--limit: expected"),
        (["--for", "0s"], 2, "--for: expected a time above 0"),
        (["--for", "5"], 2, "--for: write 5s for seconds"),
    ],
)
def test_wrong_arguments_leave_no_file(scene, arguments, code, expected):
    path, found, says = scene.refused(*arguments)
    assert expected in says
    assert (found, path.exists()) == (code, False)


def test_an_existing_file_is_not_overwritten(scene):
    path = scene.folder / "kept.jsonl"
    path.write_text("kept")
    _, code, says = scene.refused(name="kept.jsonl")
    assert (code, path.read_text()) == (1, "kept")
    assert "kept.jsonl exists; remove it, or write another file" in says


def test_a_full_disk_leaves_a_whole_file(scene):
    """The limit on the size of a file stands for the disk: a part of the last exchange is written, then none."""
    path, command = scene.command()
    wrapped = [sys.executable, "-c", LIMITED, *command[1:]]
    with started(wrapped, stderr=subprocess.PIPE, text=True) as run:
        assert "recording in" in run.stderr.readline()

        def has_ended():
            scene.gateway.get("/users/" + "x" * 1000)
            return run.poll() is not None

        eventually(has_ended, "the end of the command")
        says = run.communicate()[1]
    assert run.returncode == 1
    assert f"{path}: File too large: " in says
    with Recording(path) as recording:
        assert f": {len(list(recording))} exchanges in" in says
    assert path.stat().st_size <= FULL


FULL = 20_000
LIMITED = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({FULL}, {FULL}))
sys.argv = sys.argv[2:]
import runpy
runpy.run_module("gproxy", run_name="__main__", alter_sys=True)
"""


def test_what_comes_too_fast_is_dropped_and_counted(scene):
    """A monitor that does not read keeps no request waiting: the workers drop records beyond a bound."""
    body = b"x" * 1_000_000
    head = f"POST /users HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with scene.recording("--bodies", "1MiB", "--json") as recorded:
        (monitor,) = monitors(scene.gateway)
        os.kill(monitor, signal.SIGSTOP)
        try:
            for _ in range(50):
                assert scene.gateway.ask(head + body).status == 200
        finally:
            os.kill(monitor, signal.SIGCONT)
    counts = json.loads(recorded.out)
    assert recorded.code == 0
    assert counts["dropped"] > 0
    assert f"{counts['dropped']} dropped because they came too fast" in recorded.says
    assert counts["recorded"] + counts["dropped"] == 50
    assert len(recorded.exchanges) == counts["recorded"]


def test_a_request_is_recorded_once_it_has_ended(scene):
    with scene.recording("--bodies", "1KiB") as recorded:
        GATE.clear()
        with scene.gateway.connect() as wire:
            wire.send("GET /held/stream HTTP/1.1\r\nHost: a\r\n\r\n")
            scene.gateway.get("/users/meanwhile")
            recorded.wait_for(1)
            GATE.set()
            assert wire.read_response().body == b"hi"
        recorded.wait_for(2)
    assert {one.request.target for one in recorded.exchanges} == {"/users/meanwhile", "/held/stream"}


def test_an_event_stream_and_a_tunnel_flow_while_they_are_recorded(scene):
    GATE.clear()
    with scene.recording("--bodies", "1KiB", "--route", "held") as recorded:
        with scene.gateway.connect() as wire:
            wire.send("GET /held/events HTTP/1.0\r\nHost: a\r\n\r\n")
            assert b"data: 1" in wire.read_until(b"data: 1\n\n"), "before the stream has ended"
            GATE.set()
            assert wire.read_all() == b"data: 2\n\n"
        with scene.gateway.connect() as wire:
            upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            wire.send(
                f"GET /held/tunnel HTTP/1.1\r\nHost: a\r\n{upgrade}Sec-WebSocket-Key: a2V5MTIzNDU2Nzg5MDEyMw==\r\n\r\n"
            )
            assert b" 101 " in wire.read_until(b"\r\n\r\n")
            wire.send("abcd")
            assert wire.read_exactly(4) == b"dcba"
        recorded.wait_for(2)
    events, tunnel = sorted(recorded.exchanges, key=lambda one: one.time)
    assert events.response.body.data == events.attempts[0].response.body.data == b"data: 1\n\ndata: 2\n\n"
    assert not events.response.body.truncated
    assert (tunnel.response.status, tunnel.response.body, tunnel.attempts[0].response.status) == (101, None, 101)


def test_a_client_that_leaves_is_recorded_without_a_whole_body(scene):
    GATE.clear()
    with scene.recording("--bodies", "1KiB", "--status", "499") as recorded:
        with scene.gateway.connect() as wire:
            wire.send("GET /held/events HTTP/1.1\r\nHost: a\r\n\r\n")
            wire.read_until(b"data: 1\n\n")
        recorded.wait_for(1)
        GATE.set()
    (exchange,) = recorded.exchanges
    assert (exchange.reason, exchange.response.body.truncated) == ("client_gone", True)
