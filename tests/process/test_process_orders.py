"""What operators order at run time: reload, rollback, workers, log level, overrides; and workers that do not answer."""

import http.client
import json
import os
import re
import signal
import socket
import sys
import time
from contextlib import closing

import forked
import pytest
from admin_listener import answer_of, client_of, monitors, status_of, two_workers, unix_wire

from gproxy.commands.live.admin_client import AdminClient, AdminError
from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import RunningGateway, eventually, free_port

USERS = "[upstream:users]\nbackends = {url}\n    http://127.0.0.1:9\n[route:users]\npath = /users\nupstream = users\n"
LOOP = "def endless(request, next):\n    while True:\n        pass\n"
NOISE = """
import logging
from dataclasses import dataclass

from gproxy.config.types import Secret


def noise(request, next):
    logging.getLogger('mine').debug('a debug line')
    return next(request)


@dataclass
class Closed:
    password: Secret

    def open(self, runtime):
        raise ValueError(f"no access with {self.password.reveal()}")

    def __call__(self, request, next):
        return next(request)
"""
PASSWORD = "correct-horse-battery"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    folder = tmp_path_factory.mktemp("orders")
    (folder / "noise.py").write_text(NOISE)
    text = two_workers(more="[handler:noise]\nuse = noise:noise\n").replace(
        "[server]\n", "[server]\nworker_timeout = 60s\n"
    )
    with RunningGateway(text + "handlers = noise\n", folder) as gateway:
        status_of(client_of(gateway))
        (folder / "as_at_first").write_text(gateway.config.read_text())
        yield gateway


def original(gateway):
    """The settings at first."""
    return (gateway.folder / "as_at_first").read_text()


def connect(gateway):
    """A connection to the monitor that serves now."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(f"{gateway.folder}/admin.sock")
    return connection


def ask(connection, method, path):
    """Send a request on the connection, which stays open; return the response."""
    connection.request(method, path, b"{}" if method == "POST" else None, {"Content-Type": "application/json"})
    response = connection.getresponse()
    if method == "GET":
        response.read()
    return response


@pytest.fixture
def client(gateway):
    """A client of the monitor; the settings are as they were at first."""
    client = AdminClient(f"unix:{gateway.folder}/admin.sock")
    if gateway.config.read_text() != original(gateway):
        gateway.config.write_text(original(gateway))
        client.send("POST", "/v1/reload")
    return client


def test_a_reload_returns_its_outcome(gateway, client):
    before = client.get("/v1/status")["generation"]
    assert client.send("POST", "/v1/reload") == {"generation": before + 1}
    status = client.get("/v1/status")
    assert status["generation"] == before + 1
    assert status["reloads"][-1]["cause"].startswith("reload by uid ")
    assert status["reloads"][-1]["succeeded"]
    gateway.config.write_text(original(gateway).replace("workers = 2", "workers = two"))
    with pytest.raises(AdminError, match=r"409 .*gproxy\.ini:3: .*workers"):
        client.send("POST", "/v1/reload")
    status = client.get("/v1/status")
    assert status["generation"] == before + 1
    assert re.search(r"gproxy\.ini:3: ", status["reloads"][-1]["reasons"][0])


def test_the_reasons_of_a_failed_reload_have_no_secret(gateway, client):
    closed = f"[handler:closed]\nuse = noise:Closed\npassword = {PASSWORD}\n"
    changed = original(gateway).replace("handlers = noise\n", "handlers = noise, closed\n")
    gateway.config.write_text(changed + closed)
    with pytest.raises(AdminError, match=r"409 .*no access with \*\*\*"):
        client.send("POST", "/v1/reload")
    assert "no access with ***" in client.get("/v1/status")["reloads"][-1]["reasons"][0]
    assert PASSWORD not in gateway.errors


def test_a_reload_that_changes_the_admin_listener_returns_its_outcome_too(gateway, client):
    (before,) = monitors(gateway)
    gateway.config.write_text(original(gateway).replace("[admin]\n", "[admin]\ntitle = other\n"))
    assert client.send("POST", "/v1/reload")["generation"] > 1
    eventually(lambda: monitors(gateway) not in ([], [before]) and len(monitors(gateway)) == 1, "another monitor")
    assert status_of(client)["title"] == "other"


def test_the_monitor_that_is_replaced_has_its_last_order_carried_out(gateway, client):
    with closing(connect(gateway)) as kept:
        assert ask(kept, "GET", "/v1/status").status == 200
        gateway.config.write_text(original(gateway).replace("[admin]\n", "[admin]\ntitle = another\n"))
        generation = client.send("POST", "/v1/reload")["generation"]
        answer = ask(kept, "POST", "/v1/reload")
        assert (answer.status, json.loads(answer.read())) == (200, {"generation": generation + 1})


def test_a_rollback_returns_to_the_settings_before(gateway, client):
    gateway.config.write_text(original(gateway).replace("body = hi", "body = worse"))
    client.send("POST", "/v1/reload")
    assert gateway.get("/").body == b"worse"
    client.send("POST", "/v1/rollback")
    assert gateway.get("/").body == b"hi"
    gateway.reload()
    assert gateway.get("/").body == b"worse"


def test_workers_are_added_and_removed_until_the_next_reload(gateway, client):
    assert client.send("POST", "/v1/workers", {"count": 3}) == {"workers": 3}
    eventually(lambda: len(gateway.workers) == 3, "a third worker")
    client.send("POST", "/v1/workers", {"count": 1})
    eventually(lambda: len(gateway.workers) == 1, "the end of two workers")
    client.send("POST", "/v1/reload")
    eventually(lambda: len(gateway.workers) == 2, "the workers of the file")
    with pytest.raises(AdminError, match=r"409 .*expected a number from 1"):
        client.send("POST", "/v1/workers", {"count": 0})
    with pytest.raises(AdminError, match=r"400 .*count: missing"):
        client.send("POST", "/v1/workers", {})


def test_access_logs_are_opened_anew(tmp_path):
    text = two_workers().replace("access = off", "access = log/access.log\nrotate = never")
    with RunningGateway(text, tmp_path) as gateway:
        client = client_of(gateway)
        status_of(client)
        (tmp_path / "log" / "access.log").rename(tmp_path / "log" / "old.log")
        assert client.send("POST", "/v1/reopen") == {}
        eventually((tmp_path / "log" / "access.log").exists, "a new file")


def debug_lines(gateway):
    return gateway.errors.count("a debug line")


def hear(gateway, count=20):
    """Send requests until each worker has had some."""
    for _ in range(count):
        gateway.get("/")


def test_debug_lines_appear_for_a_time_also_over_a_reload(gateway, client):
    hear(gateway)
    assert debug_lines(gateway) == 0
    client.send("PUT", "/v1/log-level", {"level": "debug", "logger": "mine", "for": "5m"})
    assert client.get("/v1/status")["log_level"]["logger"] == "mine"
    eventually(lambda: hear(gateway) or debug_lines(gateway), "debug lines")
    client.send("POST", "/v1/reload")
    before = debug_lines(gateway)
    eventually(lambda: hear(gateway) or debug_lines(gateway) > before, "debug lines of the new generation")
    client.send("PUT", "/v1/log-level", {"level": "debug", "logger": "mine", "for": "300ms"})
    gateway.wait_for_line("logger mine: the level of the settings holds again")
    eventually(lambda: client.get("/v1/status")["log_level"] is None, "the report of the arbiter")
    time.sleep(0.2)  # the workers get the message now
    before = debug_lines(gateway)
    hear(gateway)
    assert debug_lines(gateway) == before


def test_the_level_of_the_file_holds_in_the_end(gateway, client):
    def reloads():
        client.send("POST", "/v1/reload")
        return gateway.errors.count(": reloading")

    client.send("PUT", "/v1/log-level", {"level": "error", "for": "1m"})
    gateway.config.write_text(original(gateway).replace("[log]\n", "[log]\nlevel = debug\n"))
    before = reloads()
    assert reloads() == before
    client.send("PUT", "/v1/log-level", {"level": "error", "for": "0s"})
    assert reloads() == before + 1


def drained(client, workers=2):
    """The number of workers in which the backend is drained; None if not all answer."""
    found = client.get("/v1/upstreams")["upstreams"]
    return [one for upstream in found for one in upstream["backends"] if one["state"] == "draining"]


def test_an_override_outlives_a_reload_and_a_killed_worker_until_its_backend_leaves_the_file(tmp_path):
    with (
        Backend(answering(b"ok")) as backend,
        RunningGateway(two_workers() + USERS.replace("{url}", backend.url), tmp_path) as gateway,
    ):
        client = client_of(gateway)
        status_of(client)
        client.send("PATCH", f"/v1/upstreams/users/backends/{backend.url.rpartition('/')[2]}", {"state": "drain"})
        client.send("POST", "/v1/reload")
        assert drained(client)
        gateway.reload()
        assert drained(client)
        for pid in gateway.workers:
            os.kill(pid, signal.SIGKILL)
        status_of(client)
        eventually(lambda: drained(client), "a drained backend in the new workers")
        (kept,) = client.get("/v1/status")["overrides"]
        assert (kept["upstream"], kept["state"], kept["author"][:4]) == ("users", "drain", "uid ")
        text = gateway.config.read_text()
        gateway.config.write_text(text.replace(backend.url, "http://127.0.0.1:8"))
        client.send("POST", "/v1/reload")
        gateway.wait_for_line("the override by uid")
        gateway.config.write_text(text)
        client.send("POST", "/v1/reload")
        assert not drained(client)
        assert client.get("/v1/status")["overrides"] == []


def silent(client):
    """The workers that do not answer."""
    return [one for one in client.get("/v1/status")["workers"] if not one["answers"]]


def command(gateway, name, *arguments):
    """What a `gproxy` command prints, and the seconds that it takes."""
    began = time.monotonic()
    done = forked.run(
        [sys.executable, "-m", "gproxy", name, *arguments, "--config", str(gateway.config)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout, time.monotonic() - began


def page(gateway):
    """The text of the page, and the seconds that it takes."""
    began = time.monotonic()
    with unix_wire(f"{gateway.folder}/admin.sock") as wire:
        return answer_of(wire, "GET /", "Host: any").body.decode(), time.monotonic() - began


def holding(peer, backend):
    """Answer nothing until the gateway leaves."""
    peer.read_request()
    peer.is_closed()


HANG = """[handler:hang]
use = hang:endless
[route:hang]
path = /hang
handlers = hang
respond = 200
[route:held]
path = /held
upstream = held
timeout = 60s
[upstream:held]
backends = {url}
"""


def test_ps_and_the_page_name_a_worker_that_hangs_and_its_line_within_two_seconds(tmp_path):
    (tmp_path / "hang.py").write_text(LOOP)
    with Backend(holding) as backend:
        text = two_workers(more=HANG.replace("{url}", backend.url)).replace(
            "[server]\n", "[server]\nworker_timeout = 60s\n"
        )
        with RunningGateway(text, tmp_path) as gateway:
            pids = {worker["worker"]: worker["pid"] for worker in status_of(client_of(gateway))["workers"]}
            (_, usual), (_, usual_of_page) = command(gateway, "ps"), page(gateway)
            try:
                with gateway.connect() as hanging, gateway.connect() as held:
                    hanging.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
                    eventually(lambda: silent(client_of(gateway)), "a hung worker")
                    (hung,) = silent(client_of(gateway))
                    held.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
                    eventually(lambda: "/held" in command(gateway, "ps")[0], "the request of the other worker")
                    time.sleep(5.1)  # a stack is kept for five seconds
                    shown, seconds = page(gateway)
                    assert seconds < 2 + 2 * usual_of_page
                    assert re.search(rf"Worker {hung['worker']} \(pid {hung['pid']}\) does not answer since", shown)
                    assert re.search(r"hang\.py&quot;, line [23] in endless", shown), shown
                    lines, seconds = command(gateway, "ps")
                    assert seconds < 2 + 2 * usual
                    assert re.search(rf"{hung['pid']} does not answer since .*\n(    at .*\n)+", lines)
                    assert re.search(r'    at .*hang\.py", line [23] in endless', lines), lines
                assert pids[hung["worker"]] == hung["pid"]
                assert hung["state"] == "serving"
                assert "hung here" not in gateway.errors
            finally:
                gateway.signal(signal.SIGQUIT)  # the loop would outlive a gateway that is killed


def test_a_monitor_that_hangs_is_replaced_and_does_not_delay_the_stop(tmp_path):
    with RunningGateway(two_workers().replace("[server]\n", "[server]\nworker_timeout = 2s\n"), tmp_path) as gateway:
        client = client_of(gateway)
        status_of(client)
        (before,) = monitors(gateway)
        os.kill(before, signal.SIGSTOP)
        assert gateway.get("/").status == 200
        gateway.wait_for_line(f"monitor (pid {before}) has sent no heartbeat for 2 s; killing it")
        eventually(lambda: monitors(gateway) not in ([], [before]), "another monitor")
        status_of(client)
        (hung,) = monitors(gateway)
        os.kill(hung, signal.SIGSTOP)
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0
        assert "nothing was cut" in gateway.errors


def test_a_monitor_that_cannot_start_is_tried_again_with_pauses(tmp_path):
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "admin.token").mkdir()  # the token cannot be kept
    port = free_port()
    with RunningGateway(two_workers(f"127.0.0.1:{port}"), tmp_path) as gateway:
        assert "starting another one in 0.1 s" in gateway.wait_for_line("monitor (pid")
        gateway.wait_for_line("starting another one in 1 s")
        assert gateway.get("/").status == 200
        (tmp_path / "kept").write_text("t" * 86)
        (tmp_path / "kept").chmod(0o644)
        (tmp_path / "var" / "admin.token").rmdir()
        (tmp_path / "kept").rename(tmp_path / "var" / "admin.token")
        gateway.wait_for_line("monitor: serves on")
        assert (tmp_path / "var" / "admin.token").stat().st_mode & 0o777 == 0o600
        assert "others could access" in gateway.errors
