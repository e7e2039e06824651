"""etc/supervisord.conf with the real supervisord: the command that gproxy is used by."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from hammer import load
from shipped import PUBLIC, ROOT, UNLIMITED, response, shipped

from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import eventually, free_port

BIN = Path(sys.executable).parent
CONF = "etc/supervisord.conf"


@pytest.fixture
def project(tmp_path):
    """The shipped files as in a checkout, with a port of their own: its folder, and the port."""
    port = free_port()
    for folder in ("etc", "log", "var"):
        (tmp_path / folder).mkdir()
    (tmp_path / ".venv").symlink_to(BIN.parent)
    conf = (ROOT / CONF).read_text()
    command = "command = gproxy --bind 0.0.0.0:8080 --config etc/gproxy.ini\n"
    assert command in conf
    (tmp_path / CONF).write_text(conf.replace("0.0.0.0:8080", f"127.0.0.1:{port}"))
    with Backend(answering(response(b"x" * 2000))) as backend:
        (tmp_path / "etc/gproxy.ini").write_text(
            shipped([backend.port] * 3, UNLIMITED, *PUBLIC, ("http://localhost:%d, " % backend.port, ""))
        )
        yield tmp_path, port


def supervisorctl(folder, *arguments):
    done = subprocess.run(
        [BIN / "supervisorctl", "-c", CONF, *arguments], cwd=folder, capture_output=True, text=True, timeout=60
    )
    return done.stdout


def starts(folder):
    """How often it has begun to serve; supervisord calls a process running that has not ended within a second."""
    return (folder / "log/gproxy.err.log").read_text().count("serves on")


@contextmanager
def supervisord(folder):
    # supervisord counts on its PATH being set; the rest of the environment is not needed.
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    with (folder / "out").open("w") as out:
        process = subprocess.Popen(
            [BIN / "supervisord", "-n", "-c", CONF],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        eventually(lambda: process.poll() is not None or "RUNNING" in supervisorctl(folder, "status"), "RUNNING")
        assert process.poll() is None, (folder / "out").read_text()
        yield process
    finally:
        process.terminate()
        process.wait(60)


def test_start_stop_under_load_restart_and_status(project):
    folder, port = project
    with supervisord(folder) as process:
        eventually(lambda: starts(folder) == 1, "the start")
        with load(port):
            started = time.monotonic()
            assert supervisorctl(folder, "stop", "gproxy") == "gproxy: stopped\n"
            assert time.monotonic() - started < 10
        assert "STOPPED" in supervisorctl(folder, "status")
        assert "(exit status 0)" in (folder / "log/supervisord.log").read_text().splitlines()[-1]
        assert "nothing was cut" in (folder / "log/gproxy.err.log").read_text()

        assert supervisorctl(folder, "start", "gproxy") == "gproxy: started\n"
        eventually(lambda: starts(folder) == 2, "the second start")
        with load(port):
            assert supervisorctl(folder, "restart", "gproxy") == "gproxy: stopped\ngproxy: started\n"
        assert "RUNNING" in supervisorctl(folder, "status")
        eventually(lambda: starts(folder) == 3, "the third start")

        (folder / "log/access.log").rename(folder / "log/moved")
        assert supervisorctl(folder, "signal", "USR1", "gproxy") == "gproxy: signalled\n"
        eventually((folder / "log/access.log").exists, "a new access log")

        assert supervisorctl(folder, "shutdown") == "Shut down\n"
        assert process.wait(30) == 0
    assert (folder / "log/gproxy.err.log").read_text().count("nothing was cut") == 3
    assert (folder / "log/gproxy.out.log").read_text() == ""


def test_it_is_started_again_when_it_dies(project):
    folder, _ = project
    with supervisord(folder):
        pid = supervisorctl(folder, "pid", "gproxy").strip()
        os.kill(int(pid), 9)
        eventually(
            lambda: "RUNNING" in (status := supervisorctl(folder, "status")) and f"pid {pid}," not in status,
            "a new process",
        )


def test_supervisord_waits_longer_than_the_gateway():
    conf = (ROOT / CONF).read_text()
    assert "stopwaitsecs = 40 " in conf
    assert "grace = 30s" in shipped((1, 2, 3))
