"""scripts/demo and scripts/install as a newcomer runs them."""

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from shipped import PORTS, ROOT, curl

from gproxy.testing.gateway import eventually, free_port


@pytest.fixture
def demo_ports():
    """The demo's ports are fixed, so two runs of this file on one machine take turns."""
    with (Path(tempfile.gettempdir()) / "gproxy-demo-ports.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        eventually(lambda: not any(map(is_open, PORTS)), f"ports {', '.join(PORTS)} free for the demo's backends")
        yield


def is_open(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", int(port))) == 0


@contextmanager
def demo(folder, bind):
    """scripts/demo with an empty environment, from elsewhere: its process, and where its output goes."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "GPROXY_DEMO_BIND": bind}
    output = folder / "output"
    with output.open("w") as out:
        process = subprocess.Popen(
            ["env", "--default-signal=INT", ROOT / "scripts/demo"],  # a shell that runs us in the background ignores it
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield process, output
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(40)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_serves_what_it_prints_and_stops(tmp_path, demo_ports, number):
    port = free_port()
    with demo(tmp_path, f"127.0.0.1:{port}") as (process, output):
        eventually(lambda: "ctrl-C stops it" in output.read_text() or process.poll() is not None, "the demo")
        said = output.read_text()
        assert process.poll() is None, said
        token = re.search(r"TOKEN=(\S+)", said)[1]
        urls = re.findall(rf"curl -i -H \S+ \S+ \S+ (http://127\.0\.0\.1:{port}/(?:users|orders)\S*)", said)
        assert len(urls) == 3
        bearer = ("--header", f"Authorization: Bearer {token}")
        backends = [json.loads(curl(*bearer, url))["backend"] for url in [urls[0]] * 4 + [urls[1]]]
        assert set(backends[:4]) == {5001, 5003}
        assert backends[:2] == backends[2:4]
        assert backends[4] == 5002
        assert curl("--output", "/dev/null", "--write-out", "%{http_code}", urls[0]) == b"401"
        assert (
            curl(*bearer, "--output", "/dev/null", "--write-out", "%{http_code}", f"http://127.0.0.1:{port}/users/slow")
            == b"504"
        )
        process.send_signal(number)
        assert process.wait(20) == 0
        assert "nothing was cut" in output.read_text()
        assert not any(map(is_open, [*PORTS, port]))


def test_the_demo_says_which_port_is_taken(tmp_path, demo_ports):
    with ExitStack() as stack:
        taken = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        process, output = stack.enter_context(demo(tmp_path, f"127.0.0.1:{taken}"))
        assert process.wait(30) == 1
        assert f"demo: port {taken} is in use" in output.read_text()
        assert not any(map(is_open, PORTS))
    with ExitStack() as stack:
        stack.enter_context(socket.create_server(("127.0.0.1", 5002)))
        process, output = stack.enter_context(demo(tmp_path, f"127.0.0.1:{free_port()}"))
        assert process.wait(30) == 1
        assert "demo: port 5002 is in use" in output.read_text()


@pytest.mark.parametrize(
    "script", ["scripts/check", "scripts/demo", "scripts/install", "scripts/pythons", "scripts/test", ".ci/run"]
)
def test_the_scripts_are_good_bash_and_executable(script):
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(["bash", "-n", ROOT / script], check=True, timeout=10)
