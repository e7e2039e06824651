"""`breakpoint()` in a handler under `gproxy dev`: one request stops, all others are served."""

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from debug_terminal import PROMPT, CommandTerminal, wait
from test_scripts import demo_ports  # noqa: F401 a fixture

from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import Wire, eventually, free_port

INI = """
[server]
state_dir = {tmp}/var
workers = {workers}
[log]
access = off
[gateway]
timeout = 1s
[handler:stops]
use = handlers:stops
[route:stops]
path = /stops
handlers = stops
upstream = users
[route:users]
path = /users
upstream = users
[upstream:users]
backends = http://127.0.0.1:{backend}
"""
HANDLERS = """
def stops(request, next):
    name = request.path
    breakpoint()
    request.headers["X-Name"] = name
    return next(request)
"""
STOPPED = f'handlers.py(5)stops()\n-> request.headers["X-Name"] = name\n{PROMPT}'


@pytest.fixture(scope="module")
def backend():
    with Backend(answering(body=b"hi")) as running:
        yield running


class Shop:
    """The settings of a gateway for `gproxy dev`, and requests to it."""

    def __init__(self, folder, backend, workers=1):
        self.folder, self.port = folder, free_port()
        (folder / "handlers.py").write_text(HANDLERS)
        ini = INI.format(tmp=folder, workers=workers, backend=backend.port)
        (folder / "gproxy.ini").write_text(ini)
        self.arguments = ["dev", "--config", "gproxy.ini", "--bind", f"127.0.0.1:{self.port}"]

    def get(self, path):
        with Wire(socket.create_connection(("127.0.0.1", self.port), 20)) as wire:
            wire.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
            return wire.read_response()


class Asking(threading.Thread):
    """A request of its own thread."""

    def __init__(self, shop, path):
        super().__init__(daemon=True)
        self._shop, self._path = shop, path
        self.answer = None
        self.start()

    def run(self):
        self.answer = self._shop.get(self._path)

    def status(self):
        self.join(20)
        return self.answer.status


@contextmanager
def dev(shop):
    """`gproxy dev` in a terminal."""
    with CommandTerminal(*shop.arguments, folder=shop.folder) as terminal:
        terminal.wait_for("serves on")
        terminal.wait_for("ctrl-C stops it")
        try:
            yield terminal
        finally:
            terminal.press("\x03")
            terminal.ends_with(0)


def test_a_breakpoint_stops_one_request_in_the_terminal(tmp_path, backend, demo_ports):  # noqa: F811
    shop = Shop(tmp_path, backend)
    with dev(shop) as terminal:
        asking = Asking(shop, "/stops/1")
        terminal.wait_for(STOPPED)
        began = time.monotonic()
        assert [shop.get("/users").status for _ in range(20)] == [200] * 20
        assert time.monotonic() - began < 5
        wait(3.0)  # the deadline is a second
        assert "'/stops/1'" in terminal.ask("p name")
        terminal.ask("!name = 'thought'")
        assert "return next(request)" in terminal.ask("n")
        terminal.type("c")
        assert asking.status() == 200
    assert b"X-Name: thought" in backend.requests[-1].head


@pytest.mark.parametrize("workers", [1, 3])
def test_a_second_breakpoint_waits_for_the_terminal(tmp_path, backend, demo_ports, workers):  # noqa: F811
    shop = Shop(tmp_path, backend, workers)
    with dev(shop) as terminal:
        asking = [Asking(shop, f"/stops/{number}") for number in range(4)]
        terminal.wait_for(STOPPED)
        wait(1.5)
        assert terminal.text.count(STOPPED) == 1
        names = set()
        for left in range(3, -1, -1):
            names.add(re.search(r"'/stops/(\d)'", terminal.ask("p name"))[1])
            if left:
                terminal.ask("\x04" if left == 2 else "c", STOPPED)
            else:
                terminal.type("c")
        assert names == set("0123")
        assert [one.status() for one in asking] == [200] * 4


def test_without_a_terminal_the_message_shows_how_to_attach(tmp_path, backend, demo_ports):  # noqa: F811
    shop = Shop(tmp_path, backend, 2)
    command = [sys.executable, "-m", "gproxy", *shop.arguments]
    with (tmp_path / "output").open("w") as out:
        process = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        said = (tmp_path / "output").read_text
        eventually(lambda: "ctrl-C stops it" in said(), "the demo")
        asking = Asking(shop, "/stops/1")
        eventually(lambda: "waits for a terminal: gproxy debug --attach" in said(), "the message")
        assert shop.get("/users").status == 200
        arguments = re.search(r"waits for a terminal: gproxy (debug --attach .*)", said())[1].split()
        with CommandTerminal(*arguments) as terminal:
            terminal.wait_for(STOPPED)
            wait(1.5)
            assert "'/stops/1'" in terminal.ask("p name")
            terminal.type("c")
            assert asking.status() == 200
            assert terminal.ends_with(0)
        with CommandTerminal(*arguments) as terminal:  # the other way round
            terminal.wait_for("waiting for a request")
            asking = Asking(shop, "/stops/2")
            terminal.wait_for(STOPPED)
            terminal.type("q")
            assert asking.status() == 200
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
