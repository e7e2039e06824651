"""`gproxy dev`: what it prints works, what is saved takes effect, and nothing is left behind."""

import json
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import forked
import pytest
from shipped import PORTS, ROOT, curl, shipped
from test_scripts import demo_ports  # noqa: F401 a fixture

from gproxy.commands.live.admin_client import AdminClient
from gproxy.testing.gateway import eventually, free_port


@contextmanager
def dev(folder, *arguments):
    port = free_port()
    command = [sys.executable, "-m", "gproxy", "dev", "--bind", f"127.0.0.1:{port}", *arguments]
    with (folder / "output").open("w") as out:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        eventually(lambda: "ctrl-C stops it" in said(folder) or process.poll() is not None, "the demo")
        assert process.poll() is None, said(folder)
        yield process, port
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0
        eventually(lambda: not any(is_open(number) for number in (*PORTS, port)), "the end of everything")


def said(folder):
    return (folder / "output").read_text()


def is_open(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", int(port))) == 0


def test_it_has_settings_of_its_own_and_leaves_nothing_behind(tmp_path, demo_ports):  # noqa: F811
    with dev(tmp_path) as (_, port):
        text = said(tmp_path)
        bearer = f"Authorization: Bearer {re.search('TOKEN=(.*)', text)[1]}"
        urls = re.findall(rf"http://127\.0\.0\.1:{port}/\S+", text)
        assert [url.partition(str(port))[2] for url in urls] == ["/users/1", "/orders", "/users/slow", "/health"]
        assert json.loads(curl("-H", bearer, urls[0]))["headers"]["X-User-Id"] == "alice"
        assert json.loads(curl("-H", bearer, urls[1]))["backend"] == 5002
        assert json.loads(curl(urls[3]))["status"] == "up"
        place = re.search(r"gproxy dashboard --admin (\S+)", text)[1]
        assert AdminClient(place).get("/v1/status")["workers"]
        listed = forked.run(
            [sys.executable, "-m", "gproxy", "ps", "--admin", place], capture_output=True, text=True, timeout=30
        )
        assert "0 requests in flight" in listed.stdout
        eventually(lambda: "path:/orders\tprotocol" in said(tmp_path), "access lines on standard output")
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


def test_a_file_that_is_saved_takes_effect(tmp_path, demo_ports):  # noqa: F811
    mine = tmp_path / "mine.py"
    code = "def mine(request, next):\n    request.headers['X-Mine'] = 'NAME'\n    return next(request)\n"
    mine.write_text(code.replace("NAME", "first"))
    text = shipped(PORTS, more="[handler:mine]\nuse = mine:mine\n").replace("rate_limit, jwt", "mine")
    (tmp_path / "gproxy.ini").write_text(text)
    with dev(tmp_path, "--config", "gproxy.ini") as (_, port):

        def header():
            return json.loads(curl(f"http://127.0.0.1:{port}/users"))["headers"]["X-Mine"]

        assert header() == "first"
        mine.write_text(code.replace("NAME", "second"))
        eventually(lambda: header() == "second", "the new code")
        assert "mine.py changed: reloading" in said(tmp_path)
        assert AdminClient(f"unix:{tmp_path}/var/admin.sock").get("/v1/status")["generation"] == 2


def test_wrong_settings_are_said_once(tmp_path, demo_ports):  # noqa: F811
    (tmp_path / "gproxy.ini").write_text("[gatway]\n")
    command = [sys.executable, "-m", "gproxy", "dev", "--config", "gproxy.ini"]
    done = forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gproxy.ini:1: [gatway] unknown section; did you mean [gateway]?\n"
    eventually(lambda: not any(map(is_open, PORTS)), "the end of the backends")


@pytest.mark.parametrize("packaged", ["gproxy/testing/demo.ini"])
def test_the_packaged_settings_are_those_that_ship(packaged):
    assert (ROOT / packaged).read_text() == (ROOT / "etc/gproxy.ini").read_text()
