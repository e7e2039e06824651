"""Real servers and clients as processes; a missing one is a failure that says what to install."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from gproxy.testing.gateway import RunningGateway, eventually, free_port

APPS = Path(__file__).parent / "apps"

#: What a newcomer writes: every limit has its default. A test adds what it is about.
SETTINGS = """
[gateway]
handlers = health, compress
[route:app]
upstream = app
[upstream:app]
backends = http://127.0.0.1:{port}
[handler:health]
cache = 0s
[handler:compress]
"""


def required(*names):
    """Return the path of the first of these programs that is installed."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    assert found, f"{names[0]} is not installed; scripts/install test installs it"
    return found


@contextmanager
def background(folder, *command, **options):
    """Run a program until the end of the block; its output goes to the file `output.log` in `folder`.

    The signal goes to its group: a program may be a script that waits for the real one, as Debian's Chromium is.
    """
    with (folder / "output.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True, **options)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(15)


@contextmanager
def server(folder, *command, port, **environ):
    """Run a Python module that listens on this port: its name and arguments."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(APPS), "APP_FOLDER": str(folder), **environ}
    with background(folder, sys.executable, "-m", *command, env=environ) as process:
        eventually(lambda: process.poll() is not None or listens(port), f"{command[0]} on port {port}")
        assert process.poll() is None, (folder / "output.log").read_text()
        yield port


def listens(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def gunicorn(folder, app, *arguments):
    """A gunicorn with two workers, unless the arguments say otherwise."""
    port = free_port()
    command = ("gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "2", "--no-control-socket", *arguments, app)
    with server(folder, *command, port=port):
        yield port


@contextmanager
def uvicorn(folder, app, *arguments):
    port = free_port()
    with server(folder, "uvicorn", "--port", str(port), *arguments, app, port=port):
        yield port


def in_front_of(port, folder, more="", *arguments):
    """A gateway with the settings above before this port."""
    return RunningGateway(SETTINGS.format(port=port) + more, folder, *arguments)


def run(*command, timeout=30, **options):
    """Run a client to its end and return it; a test that expects success asserts it with `succeed`."""
    return subprocess.run(command, capture_output=True, timeout=timeout, check=False, **options)


def succeed(*command, **options):
    """Return what a client prints."""
    done = run(*command, **options)
    assert done.returncode == 0, (command, done.stderr.decode())
    return done.stdout
