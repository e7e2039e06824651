"""h2load: one run of it over HTTP/2 and TLS, and what it says."""

import re
import subprocess
from statistics import quantiles

from bench.load import Load
from bench.server import OTHER_CORE, pinned

#: A gRPC message: not compressed, ten bytes long.
_MESSAGE = b"\0\0\0\0\x0a\x0a\x08greeting"
_GRPC = "content-type: application/grpc", "te: trailers"


class HTTP2Generator:
    """h2load, sending what a scenario asks for. Certificates are not verified."""

    def __init__(self, scenario, folder, cores=OTHER_CORE):
        self._scenario = scenario
        self._cores = cores
        self._folder = folder
        self._paths = scenario.paths() if scenario.paths else [scenario.path]

    def run(self, port, seconds):
        """Send requests for so long. Raises CalledProcessError if h2load could not."""
        times = self._folder / "h2load.log"
        times.unlink(missing_ok=True)
        command = pinned(self._cores, [*self._command(port, seconds), f"--log-file={times}"])
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return parse(printed, times.read_text())

    def _command(self, port, seconds):
        scenario = self._scenario
        uris = self._folder / "h2load.uris"
        uris.write_text("".join(f"https://127.0.0.1:{port}{path}\n" for path in self._paths))
        command = ["h2load", "-t1", f"-c{scenario.connections}", f"-m{scenario.streams}", f"-D{seconds}", "-i", uris]
        if scenario.grpc:
            message = self._folder / "h2load.message"
            message.write_bytes(_MESSAGE)
            command += ["-d", message, *(argument for field in _GRPC for argument in ("-H", field))]
        return command


def parse(text, times):
    """What h2load has printed, and a line for each response with its microseconds. Raises ValueError for what is missing."""
    rate = float(_find(r"finished in \S+, ([\d.]+) req/s", text)[1])
    counts = _find(r"requests: .* (\d+) succeeded, (\d+) failed, \d+ errored, (\d+) timeout", text)
    succeeded, *lost = map(int, counts.groups())
    bad = sum(map(int, _find(r"status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text).groups()))
    took = [int(line.split("\t")[2]) / 1e3 for line in times.splitlines()]
    marks = quantiles(took, n=100) if len(took) > 1 else [0.0] * 99
    return Load(succeeded, rate, marks[49], marks[98], bad + sum(lost))


def _find(pattern, text):
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"h2load printed no {pattern!r}:\n{text}")
    return found
