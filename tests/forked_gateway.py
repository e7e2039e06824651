"""Gateways of forked processes, for tests of what a gateway does with requests: a start by Python takes 0.4 s of a core.

gateway_server.py forks them. Tests of starts, processes, memory, and of what differs between processes, such as the hash
of a string, start gateways by Python.
"""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import forked
import pytest

from gproxy.testing.gateway import RunningGateway

#: The server of this process, once a gateway was started.
_servers: list[forked.Server] = []


_start_by_python = RunningGateway._start


@contextmanager
def forked_gateways():
    """Let gateways start by forks. One with another program, or other variables for Python, starts as ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunningGateway, "_start", _start)
        patch.setattr(RunningGateway, "workers", property(_workers))
        yield


@contextmanager
def started_by_python():
    """Let gateways start by Python in a part of the time in which others start by forks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunningGateway, "_start", _start_by_python)
        yield


def _start(gateway):
    if not _servers:
        _servers.append(forked.Server(Path(__file__).with_name("gateway_server.py")))
    always = "PYTHONDONTWRITEBYTECODE"
    given = {name: value for name, value in gateway._environ.items() if name != always}
    is_plain = gateway._command[:3] == [sys.executable, "-m", "gproxy"]
    if not is_plain or not forked.of_a_start(given) <= forked.of_a_start(_servers[0].environ):
        return _start_by_python(gateway)
    return ForkedProcess(_servers[0], gateway)


class ForkedProcess:
    """The arbiter of a gateway, as subprocess.Popen has it."""

    def __init__(self, server, gateway):
        self.args = gateway._command
        self.returncode = None
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        none = os.open(os.devnull, os.O_RDONLY)
        wanted = {"arguments": self.args[3:], "cwd": str(gateway.folder), "env": gateway._environ}
        try:
            self._line = server.start(wanted, [none, out_end, err_end], 60)
        finally:
            for fd in (none, out_end, err_end):
                os.close(fd)
        self.stdout, self.stderr = os.fdopen(out), os.fdopen(err)
        self.pid = int(self._read_line())

    def _read_line(self):
        data = self._line.recv(1)
        while data and not data.endswith(b"\n"):
            data += self._line.recv(1)
        return data

    def wait(self, timeout=None):
        if self.returncode is None:
            self._line.settimeout(timeout)
            try:
                self.returncode = int(self._read_line())
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.args, timeout) from None
            self._line.close()
        return self.returncode

    def poll(self):
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def _workers(gateway):
    children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children").read_text().split()
    return [int(pid) for pid in children if _is_worker(pid)]


def _is_worker(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("gproxy: worker") and Path(f"/proc/{pid}/exe").exists()
    except OSError:
        return False
