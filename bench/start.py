"""How long it takes from the command to the first answer."""

import http.client
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.figures import Figure, NotMeasuredError
from bench.peers import Place, gproxy
from bench.scenarios import backends
from bench.server import PATIENCE
from gproxy.testing.gateway import free_port

_TIMES = 5


def check(folder, _minutes):
    """From `gproxy` as it is typed to a 200 from a backend."""
    with backends(folder) as behind:
        times = [until_first_answer(gproxy(place)[3:], place.port) for place in _places(behind.ports, folder)]
    return [
        Figure(f"start to first answer, median of {_TIMES}", statistics.median(times), "s", 0.5),
        Figure("start to first answer, fastest", min(times), "s"),
    ]


def _places(ports, folder):
    return [Place(free_port(), ports, folder) for _ in range(_TIMES)]


def until_first_answer(arguments, port, path="/users/1"):
    """Seconds, for gproxy with these arguments. Raises NotMeasuredError if nothing comes."""
    command = [Path(sys.executable).with_name("gproxy"), *arguments]
    began = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _answers(port, path):
            if process.poll() is not None or time.monotonic() - began > PATIENCE:
                raise NotMeasuredError("gproxy gave no answer")
            time.sleep(0.002)
        return time.monotonic() - began
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _answers(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
