"""What `gproxy record` has recorded, replayed: to another version, and to settings whose backends are the recording."""

import json
import subprocess
import sys
from contextlib import contextmanager

import forked
import pytest

from gproxy.testing.backends import Actor, reply
from gproxy.testing.gateway import PATIENCE, RunningGateway, eventually

SETTINGS = """
[server]
state_dir = {{tmp}}/var
[admin]
bind = unix:{{tmp}}/admin.sock
[log]
access = off
[gateway]
timeout = 3s
handlers = limit, mark, zip

[handler:limit]
use = rate_limit
limit = 60/m
[handler:jwt]
secret = 0123456789abcdef0123456789abcdef
forward = sub: X-User
[handler:mark]
use = marking:mark
[handler:zip]
use = compress
min_size = 10

[route:users]
path = /users
upstream = users
retries = 1
retry_on = connect, reset, 503
[route:orders]
path = /orders
handlers = jwt
upstream = orders
[route:fixed]
path = /fixed
respond = 204

[upstream:users]
backends = http://127.0.0.1:{users}
[upstream:orders]
backends = http://127.0.0.1:{orders}
"""
MARKING = """
def mark(request, next):
    request.headers["X-Tenant"] = request.host.partition(".")[0]
    response = next(request)
    response.headers["Vary"] = "X-Tenant"
    return response
"""
FIELDS = ("Content-Type: application/json",)
TOKENS = ("alice", "bob")


class Users:
    """The users of the first version: one path fails once, and each response has another `at`."""

    def __init__(self, *, is_flaky):
        self._is_flaky = is_flaky
        self._at = 0

    def __call__(self, peer, request):
        path = request.line.split(" ")[1].partition("?")[0]
        if path == "/users/flaky" and self._is_flaky:
            self._is_flaky = False
            reply(b"busy", status="503 Service Unavailable")(peer, request)
        elif path == "/users/gone":
            reply(b'{"error": "gone"}', "Content-Type: application/json", status="404 Not Found")(peer, request)
        else:
            self._at += 1
            body = json.dumps({"path": path, "items": [{"price": 10}, {"price": 20}], "at": self._at}).encode()
            reply(body, *FIELDS, "Set-Cookie: sid=secret-cookie; Path=/", "Cache-Control: no-store")(peer, request)


def changed(peer, request):
    """The users of the next version, with three differences."""
    path = request.line.split(" ")[1].partition("?")[0]
    if path == "/users/gone":
        reply(b'{"path": "/users/gone"}', "Content-Type: application/json")(peer, request)
        return
    body = json.dumps({"path": path, "items": [{"price": 10}, {"price": 21}], "at": -1}).encode()
    fields = ("Content-Type: application/json", "Set-Cookie: sid=other-cookie; Path=/", "Cache-Control: max-age=60")
    reply(body, *fields)(peer, request)


def run(folder, *arguments):
    command = [sys.executable, "-m", "gproxy", *arguments]
    done = forked.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=90)
    return done.returncode, done.stdout, done.stderr


@contextmanager
def recording(gateway, *options, name="recording.jsonl"):
    """Record what the block asks, until the limit of the options."""
    command = [sys.executable, "-m", "gproxy", "record", "--config", str(gateway.config), "-o", name, *options]
    with subprocess.Popen(command, cwd=gateway.folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            first = process.stderr.readline()
            assert "recording in" in first, first + process.stderr.read()
            yield
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


#: The number of requests of `ask`.
ASKED = 76


def ask(gateway):
    """Ask all that a recording has."""
    for sub in TOKENS:
        token = run(gateway.folder, "token", "--config", str(gateway.config), "--sub", sub)[1].strip()
        answer = gateway.get("/orders/1?key=secret-key", f"Authorization: Bearer {token}", "X-Own: secret-field")
        assert answer.status == 200
    assert gateway.get("/orders/2").status == 401
    assert gateway.get("/fixed").status == 204
    assert gateway.get("/nowhere").status == 404
    assert gateway.get("/users/gone").status == 404
    assert gateway.get("/users/flaky").status == 200
    assert gateway.get("/users/1", method="HEAD").status == 200
    assert gateway.get("/users/2", "Accept-Encoding: gzip")["content-encoding"] == "gzip"
    statuses = [gateway.get(f"/users/{n}").status for n in range(67)]
    assert set(statuses) == {200, 429}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The folder of a recording, with the settings and the handler of its gateway, whose backends are gone."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "marking.py").write_text(MARKING)
    with Actor(Users(is_flaky=True)) as first, Actor(reply(b"order", "Content-Type: text/plain")) as second:
        ini = SETTINGS.format(users=first.port, orders=second.port).replace("{{tmp}}", "{tmp}")
        with RunningGateway(ini, folder) as gateway:
            eventually((folder / "admin.sock").exists, "the admin listener")
            with recording(gateway, "--bodies", "--limit", str(ASKED), "--keep", "Vary", "--keep", "X-Tenant"):
                ask(gateway)
    return folder


def kinds(text):
    return [(one["route"], one["kind"], one["count"]) for one in json.loads(text)["differences"]]


def replay(folder, *arguments):
    return run(folder, "replay", "recording.jsonl", *arguments)


def test_three_known_differences_of_another_version_are_found_exactly(tmp_path):
    """Row 27: recorded from one version, replayed to the next one."""
    ini = (
        "[admin]\nbind = unix:{tmp}/admin.sock\n[log]\naccess = off\n"
        "[route:users]\npath = /users\nupstream = users\n[upstream:users]\nbackends = %s\n"
    )
    with Actor(Users(is_flaky=False)) as backend, RunningGateway(ini % backend.url, tmp_path) as gateway:
        eventually((tmp_path / "admin.sock").exists, "the admin listener")
        with recording(gateway, "--bodies", "--limit", "22"):
            for n in range(20):
                gateway.get(f"/users/{n}", "Cookie: sid=secret")
            gateway.get("/users/gone")
            gateway.get("/users/1", method="HEAD")
    (tmp_path / "next").mkdir()
    with Actor(changed) as backend, RunningGateway(ini % backend.url, tmp_path / "next") as gateway:
        against = ("--against", f"http://127.0.0.1:{gateway.port}", "--json")
        status, text, errors = replay(tmp_path, *against, "--ignore", "json:$.at")
        assert (status, errors) == (1, "")
        assert kinds(text) == [
            ("users", "body $.items[*].price", 20),
            ("users", "header Cache-Control", 21),
            ("users", "status", 1),
        ]
        report = json.loads(text)
        assert report["replayed"] == report["recorded"] == 22
        assert report["not_compared"]["hidden_values"] == 21
        assert report["differences"][2]["example"]["request"] == "GET /users/gone"
        assert ("users", "body $.at", 20) in kinds(replay(tmp_path, *against)[1])
        ignored = "json:$.at,header:cache-control,json:$.items[*].price"
        assert kinds(replay(tmp_path, *against, "--ignore", ignored)[1]) == [("users", "status", 1)]
        assert replay(tmp_path, *against, "--ignore", ignored, "--only", "HEAD")[0] == 0


def test_recorded_backends_and_unchanged_settings_are_no_difference(recorded):
    """Row 28, first part: retries, limits, compression, identity and redacted values come out as they were."""
    status, text, errors = replay(recorded, "--config", "gproxy.ini", "--backends", "recorded", "--sign")
    assert status == 0
    assert errors.count("\n") == 1
    assert errors.endswith(": status 503\n")  # as the error log had it
    assert text.startswith(f"{ASKED} of {ASKED} exchanges replayed\n")
    assert text.endswith("\nno difference\n")


def test_recorded_backends_and_a_changed_handler_are_only_its_change_twice_the_same(recorded):
    """Row 28, second part."""
    (recorded / "marking.py").write_text(MARKING.replace('"Vary"] = "X-Tenant"', '"Cache-Control"] = "private"'))
    try:
        arguments = ("--config", "gproxy.ini", "--backends", "recorded", "--sign", "--json")
        first, second = replay(recorded, *arguments), replay(recorded, *arguments)
    finally:
        (recorded / "marking.py").write_text(MARKING)
    assert first == second
    assert first[0] == 1
    assert {one[1] for one in kinds(first[1])} == {"header Vary", "header Cache-Control"}
