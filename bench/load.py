"""wrk: one run of it, and what it says."""

import re
import subprocess
from dataclasses import dataclass

from bench.requests import token
from bench.server import OTHER_CORE, pinned

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3, "h": 3600e3}


@dataclass(frozen=True)
class Load:
    """Times in milliseconds. `errors`: answers other than 2xx and 3xx, and requests that got none."""

    requests: int
    rate: float
    p50: float
    p99: float
    errors: int


def run(port, scenario, seconds, folder):
    """Ask what the scenario asks for so long. Raises CalledProcessError if wrk could not."""
    command = ["wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds}", "--timeout", "10", "--latency"]
    for field in _fields(scenario):
        command += ["-H", field]
    if scenario.script:
        script = folder / "wrk.lua"
        script.write_text(scenario.script)
        command += ["-s", script]
    command.append(f"http://127.0.0.1:{port}{scenario.path}")
    return parse(subprocess.run(pinned(OTHER_CORE, command), capture_output=True, text=True, check=True).stdout)


def _fields(scenario):
    return [*scenario.fields, *[f"Authorization: Bearer {token()}"] * scenario.jwt]


def parse(text):
    """What wrk has printed. Raises ValueError for what it has not."""
    requests, rate = _find(r"(\d+) requests in ", text), _find(r"Requests/sec: +([\d.]+)", text)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    sockets = re.search(r"Socket errors: (.*)", text)
    errors = [*re.findall(r"\d+", sockets[1] if sockets else ""), bad[1] if bad else 0]
    return Load(int(requests), float(rate), _percentile(50, text), _percentile(99, text), sum(map(int, errors)))


def _find(pattern, text):
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"wrk printed no {pattern!r}:\n{text}")
    return found[1]


def _percentile(number, text):
    value, unit = re.fullmatch(r"([\d.]+)(\D+)", _find(rf"\n +{number}% +(\S+)", text)).groups()
    return float(value) * _UNITS[unit]
