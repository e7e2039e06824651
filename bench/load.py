"""wrk: one run of it, and what it says."""

import re
import subprocess
from collections import Counter
from dataclasses import dataclass

from bench.requests import token
from bench.server import OTHER_CORE, pinned

#: Sends the requests of a file, which a zero byte separates, from a position on; after the last one the first again.
_LIST = """\
local requests = {{}}
for one in io.open("{file}", "rb"):read("*a"):gmatch("%Z+") do requests[#requests + 1] = one end
local position = {position}
function request()
  position = position % #requests + 1
  return requests[position]
end
"""
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3, "h": 3600e3}


@dataclass(frozen=True)
class Load:
    """Times in milliseconds. `errors`: responses that are not what the scenario asks for, and requests without one."""

    requests: int
    rate: float
    p50: float
    p99: float
    errors: int


class Generator:
    """wrk, sending what a scenario asks for. With a list, a run goes on behind the last request that the server got."""

    def __init__(self, scenario, folder, cores=OTHER_CORE):
        self._scenario = scenario
        self._cores = cores
        self._script = folder / "wrk.lua"
        self._list = folder / "requests"
        self._positions = Counter()  # by port
        self._fields = [*scenario.fields, *[f"Authorization: Bearer {token()}"] * scenario.jwt]
        if scenario.requests:
            self._list.write_bytes(b"\0".join(scenario.requests()))

    def run(self, port, seconds):
        """Send requests for so long. Raises CalledProcessError if wrk could not."""
        command = pinned(self._cores, self._command(port, seconds))
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        load = parse(printed, self._scenario)
        # wrk takes one more to look at it, and at the end each connection may wait for a response.
        self._positions[port] += load.requests + self._scenario.connections + 1
        return load

    def _command(self, port, seconds):
        scenario = self._scenario
        command = ["wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds}", "--timeout", "10", "--latency"]
        url = f"http://127.0.0.1:{port}{scenario.path}"
        if scenario.requests:
            script = _LIST.format(file=self._list, position=self._positions[port])
        else:
            script = scenario.script
            command += [argument for field in self._fields for argument in ("-H", field)]
        self._script.write_text(script)
        return [*command, "-s", self._script, url]


def parse(text, scenario):
    """What wrk has printed. Raises ValueError for what it has not."""
    requests, rate = int(_find(r"(\d+) requests in ", text)), _find(r"Requests/sec: +([\d.]+)", text)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    sockets = re.search(r"Socket errors: (.*)", text)
    errors = sum(map(int, re.findall(r"\d+", sockets[1] if sockets else "")))
    errors += scenario.unexpected(int(bad[1]) if bad else 0, requests)
    return Load(requests, float(rate), _percentile(50, text), _percentile(99, text), errors)


def _find(pattern, text):
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"wrk printed no {pattern!r}:\n{text}")
    return found[1]


def _percentile(number, text):
    value, unit = re.fullmatch(r"([\d.]+)(\D+)", _find(rf"\n +{number}% +(\S+)", text)).groups()
    return float(value) * _UNITS[unit]
