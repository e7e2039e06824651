"""What systemd hands over and wants to be told, by the protocols themselves; and the unit file, without a systemd."""

import os
import queue
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from shipped import ROOT, line_with

from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import PATIENCE, RunningGateway, Wire, eventually

INI = "[server]\n{server}\n[route:all]\nupstream = one\n[upstream:one]\nbackends = {url}\n[log]\naccess = off\n"
GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

#: sd_listen_fds: descriptors from 3 on, and the process id that they are for.
ACTIVATE = """
import os, sys
os.environ["LISTEN_PID"] = str(os.getpid())
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.execv(sys.executable, [sys.executable, "-m", "gproxy", "--config", "gproxy.ini"])
"""


@pytest.fixture
def backend():
    with Backend(answering(body=b"one")) as one:
        yield one


@contextmanager
def activated(folder, backend, listener, *, server="workers = 2\nbind = 127.0.0.1:1"):
    """Started as by a socket unit: [server] bind is not used, or it could not start."""
    (folder / "gproxy.ini").write_text(INI.format(server=server, url=backend.url))
    environ = {**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"}
    command = [sys.executable, "-c", ACTIVATE, str(listener.fileno())]
    process = subprocess.Popen(
        command, cwd=folder, env=environ, pass_fds=[listener.fileno()], stderr=subprocess.PIPE, text=True
    )
    with process:
        line_with(process.stderr, "serves on fd:3")
        yield process
        if process.poll() is None:
            process.terminate()
        assert process.wait(PATIENCE) == 0


def ask(port):
    with Wire(socket.create_connection(("127.0.0.1", port), PATIENCE)) as wire:
        wire.send(GET)
        return wire.read_response()


def test_a_socket_that_was_opened_for_us_is_used_and_left_as_it_was(tmp_path, backend):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with activated(tmp_path, backend, listener) as process:
            assert ask(port).body == b"one"
            process.send_signal(signal.SIGHUP)
            line_with(process.stderr, "reloading")
            line_with(process.stderr, "reloaded")
            assert ask(port).body == b"one"
            process.terminate()
            process.wait(PATIENCE)
        with Wire(socket.create_connection(("127.0.0.1", port), PATIENCE)) as waiting:  # while nothing runs
            waiting.send(GET)
            with activated(tmp_path, backend, listener):
                assert waiting.read_response().body == b"one"


def test_what_is_inherited_answers_at_once_on_a_kept_connection(tmp_path, backend):
    """The socket was not made by us, and yet what it accepts does not wait for the client's delayed ACK."""
    with socket.create_server(("127.0.0.1", 0)) as listener, activated(tmp_path, backend, listener):
        with Wire(socket.create_connection(listener.getsockname(), PATIENCE)) as wire:
            began = time.monotonic()
            for _ in range(50):
                wire.send(GET)
                assert wire.read_response().status == 200
            assert time.monotonic() - began < 50 * 0.04


def test_sockets_meant_for_another_process_are_not_taken(tmp_path, backend):
    ini = INI.format(server="", url=backend.url)
    with RunningGateway(ini, tmp_path, environ={"LISTEN_FDS": "1", "LISTEN_PID": "1"}) as ours:
        assert ours.get("/").status == 200


class Manager:
    """The socket that a service notifies, and what came."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(path)
        self.messages = queue.Queue()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        while message := self.sock.recv(4096):
            self.messages.put(message.decode())

    def next(self, *, but="WATCHDOG=1"):
        while (message := self.messages.get(timeout=PATIENCE)) == but:
            pass
        return message

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", self.sock.getsockname())
        self.thread.join()
        self.sock.close()


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_systemd_is_told(tmp_path, backend, kind):
    path = str(tmp_path / "notify") if kind == "path" else f"\0gproxy-{os.getpid()}"
    manager = Manager(path)
    environ = {"NOTIFY_SOCKET": path.replace("\0", "@"), "WATCHDOG_USEC": "200000"}
    with closing(manager), RunningGateway(INI.format(server="", url=backend.url), tmp_path, environ=environ) as ours:
        assert manager.next() == f"READY=1\nSTATUS=serves on 127.0.0.1:{ours.port}"
        assert [manager.next(but="") for _ in range(3)] == ["WATCHDOG=1"] * 3
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        ours.signal(signal.SIGHUP)
        reloading = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=([0-9]+)\nSTATUS=reloading", manager.next())
        assert before <= int(reloading[1]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        assert manager.next().startswith("READY=1\nSTATUS=serves on")
        ours.config.write_text("nonsense")
        ours.signal(signal.SIGHUP)
        assert manager.next().startswith("RELOADING=1")
        assert manager.next() == "READY=1\nSTATUS=the last reload failed; see the log"
        eventually(lambda: len(ours.workers) == 1, "one generation")
        environ = Path(f"/proc/{ours.workers[0]}/environ").read_text()
        assert "NOTIFY_SOCKET" not in environ and "WATCHDOG" not in environ
        ours.signal(signal.SIGTERM)
        assert manager.next() == "STOPPING=1\nSTATUS=stopping"
        assert ours.wait() == 0


def test_a_manager_that_is_gone_is_no_reason_not_to_serve(tmp_path, backend):
    environ = {"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "nonsense"}
    with RunningGateway(INI.format(server="", url=backend.url), tmp_path, environ=environ) as ours:
        assert ours.get("/").status == 200


def test_a_manager_that_does_not_read_holds_nothing_up(tmp_path, backend):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(path)
        with RunningGateway(
            INI.format(server="", url=backend.url), tmp_path, environ={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "20000"}
        ) as ours:
            time.sleep(0.5)  # more than its queue takes
            ours.signal(signal.SIGHUP)
            ours.wait_for_line("reloaded")
            assert ours.get("/").status == 200


UNIT = (ROOT / "etc/gproxy.service").read_text()
#: The oldest systemd that the unit file is for.
OLDEST = 249
#: The version of systemd that brought each directive, 0: before 209. From systemd.unit(5), .service(5) and .exec(5).
SINCE = {
    "Unit": {"Description": 0, "After": 0, "Wants": 0},
    "Service": {
        "Type": 0,
        "ExecStart": 0,
        "ExecReload": 0,
        "WorkingDirectory": 0,
        "User": 0,
        "AmbientCapabilities": 229,
        "KillMode": 0,
        "TimeoutStopSec": 0,
        "WatchdogSec": 0,
        "Restart": 0,
        "LimitNOFILE": 0,
    },
    "Install": {"WantedBy": 0},
}
#: Values that are words, likewise.
WORDS = {"Type": {"notify": 0, "notify-reload": 253}, "KillMode": {"mixed": 209}, "Restart": {"on-failure": 0}}


def unit():
    """Return the directives of the unit file, by section."""
    found = {}
    for line in UNIT.splitlines():
        if header := re.fullmatch(r"\[(\w+)]", line):
            section = found[header[1]] = {}
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            section[name] = value
    return found


def test_the_unit_file_has_only_what_old_versions_of_systemd_know():
    versions = [SINCE[section][name] for section, lines in unit().items() for name in lines]
    versions += [WORDS[name][value] for name, value in unit()["Service"].items() if name in WORDS]
    assert max(versions) <= OLDEST


def test_systemd_finds_no_mistake_in_the_unit_file(tmp_path):
    assert shutil.which("systemd-analyze"), "systemd-analyze is not installed; scripts/install test installs it"
    copy = tmp_path / "gproxy.service"
    copy.write_text(UNIT.replace("/opt/gproxy/.venv/bin/gproxy", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=60)
    assert [line for line in (done.stdout + done.stderr).splitlines() if "gproxy" in line] == []


def test_what_the_unit_file_starts_and_reloads(tmp_path, backend):
    """Its commands, as systemd runs them."""
    lines = unit()["Service"]
    (tmp_path / "gproxy.ini").write_text(INI.format(server="bind = unix:sock", url=backend.url))
    program, *arguments = shlex.split(lines["ExecStart"].replace("/opt/gproxy/etc", str(tmp_path)))
    assert program == "/opt/gproxy/.venv/bin/gproxy"
    manager = Manager(str(tmp_path / "notify"))
    environ = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
    command = [sys.executable, "-m", "gproxy", *arguments]
    with closing(manager), subprocess.Popen(command, cwd=tmp_path, env=environ) as process:
        try:
            assert manager.next() == "READY=1\nSTATUS=serves on unix:sock"
            reload = [word.replace("$MAINPID", str(process.pid)) for word in shlex.split(lines["ExecReload"])]
            assert subprocess.run(reload, timeout=10).returncode == 0
            assert manager.next().startswith("RELOADING=1\n")
            assert manager.next() == "READY=1\nSTATUS=serves on unix:sock"
        finally:
            process.terminate()
            assert process.wait(PATIENCE) == 0
