"""`gproxy dashboard`: the page of a unix socket on a loopback port, for the one who has the URL."""

import json
import re
import signal
import socket
import subprocess
import sys

import forked
import pytest
from admin_listener import JSON, Admin, answer_of

from gproxy.testing.gateway import Wire


@pytest.fixture(scope="module")
def admin(tmp_path_factory):
    with Admin(tmp_path_factory.mktemp("dashboard")) as admin:
        yield admin


class Dashboard:
    """The command, and browsers that ask its port."""

    def __init__(self, admin):
        command = [sys.executable, "-m", "gproxy", "dashboard", "--config", str(admin.gateway.config)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)(/\?once=\S+)\n", self.process.stdout.readline())
        self.port, self.path = int(found[1]), found[2]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.output, self.errors = self.process.communicate(timeout=15)

    def ask(self, line, *fields, host=None, body=""):
        length = [f"Content-Length: {len(body)}"] if body else []
        with Wire(socket.create_connection(("127.0.0.1", self.port), 15)) as wire:
            return answer_of(wire, line, f"Host: {host or f'127.0.0.1:{self.port}'}", *fields, *length, body=body)


def test_the_url_works_once_and_gives_a_cookie_for_the_port(admin):
    with Dashboard(admin) as dashboard:
        assert dashboard.ask("GET /v1/status").status == 401
        assert dashboard.ask("GET /?once=guessed").status == 401
        entered = dashboard.ask(f"GET {dashboard.path}")
        assert (entered.status, entered["location"]) == (303, "/")
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(entered["set-cookie"].split("; "))
        assert dashboard.ask(f"GET {dashboard.path}").status == 401
        cookie = f"Cookie: other=1; {entered['set-cookie'].partition(';')[0]}"
        assert json.loads(dashboard.ask("GET /v1/status", cookie).body)["workers"]
        page = dashboard.ask("GET /", cookie, "Accept: text/html")
        assert (page.status, page["content-type"].partition(";")[0]) == (200, "text/html")
        assert dashboard.ask("GET /v1/status", cookie + "x").status == 401
        assert dashboard.ask("GET /v1/status", cookie, host="evil.example").status == 421
    assert (dashboard.process.returncode, dashboard.errors) == (0, "")


def test_changes_pass_and_those_of_foreign_pages_do_not(admin):
    with Dashboard(admin) as dashboard:
        cookie = f"Cookie: {dashboard.ask(f'GET {dashboard.path}')['set-cookie'].partition(';')[0]}"
        own, kind = f"Origin: http://127.0.0.1:{dashboard.port}", f"Content-Type: {JSON}"
        assert dashboard.ask("DELETE /v1/requests/x", cookie, own, kind, body="{}").status == 404
        assert dashboard.ask("DELETE /v1/requests/x", cookie, "Origin: http://evil.example", kind).status == 403
        assert dashboard.ask("DELETE /v1/requests/x", own, kind).status == 401


def test_a_request_that_follows_on_a_connection_is_not_passed_on_unchecked(admin):
    with Dashboard(admin) as dashboard:
        cookie = dashboard.ask(f"GET {dashboard.path}")["set-cookie"].partition(";")[0]
        request = f"GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1:{dashboard.port}\r\n"
        with Wire(socket.create_connection(("127.0.0.1", dashboard.port), 15)) as wire:
            wire.send(f"{request}Cookie: {cookie}\r\n\r\n{request}\r\n")
            assert wire.read_response().status == 200
            assert wire.is_closed()


def test_without_a_monitor_the_command_ends_with_the_reason(tmp_path):
    command = [sys.executable, "-m", "gproxy", "dashboard", "--admin", f"unix:{tmp_path}/nothing.sock"]
    done = forked.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (1, "")
    assert "does not answer" in done.stderr


@pytest.mark.parametrize("port", ["99999", "-1", "x"])
def test_a_wrong_port_is_a_wrong_argument(tmp_path, port):
    command = [sys.executable, "-m", "gproxy", "dashboard", "--admin", f"unix:{tmp_path}/no.sock", f"--port={port}"]
    done = forked.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"argument --port: expected a port from 0 to 65535; found '{port}'" in done.stderr
