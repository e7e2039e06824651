"""What operators see over time: percentiles of known durations, and a client of events over many reloads."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from admin_listener import Admin, monitors

from gproxy.testing.gateway import eventually

SERVER = "[server]\nworkers = 2\n"
WAITING = "[route:waits]\npath = /waits\nhandlers = waits\nrespond = 200\n[handler:waits]\nuse = own:waits\n"
OWN = """import time
def waits(request, next):
    time.sleep(float(request.query))
    return next(request)
"""
#: Seconds, and so many requests of each: p50, p95 and p99 are in the middle of a group.
DURATIONS = {0.04: 70, 0.15: 20, 0.4: 7, 0.9: 3}
#: Reloads in which a leak of 100 kB each would show.
RELOADS = 10


def percentile(durations, share):
    return sorted(durations)[round(share * len(durations)) - 1]


def seconds_of(cell):
    number, unit = re.fullmatch(r"([\d.]+) (ms|s)", cell).groups()
    return float(number) * {"ms": 0.001, "s": 1.0}[unit]


def test_percentiles_are_those_of_the_durations_in_the_access_log(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    log = tmp_path / "access.log"
    with Admin(tmp_path, SERVER + WAITING, log=f"access = {log}\nformat = json") as admin:
        paths = [f"/waits?{seconds}" for seconds, count in DURATIONS.items() for _ in range(count)]
        with ThreadPoolExecutor(10) as clients:
            assert {answer.status for answer in clients.map(admin.gateway.get, paths)} == {200}
        eventually(lambda: log.read_text().count("\n") == len(paths), "all lines of the access log")
        known = [json.loads(line)["duration"] for line in log.read_text().splitlines()]
        assert percentile(known, 0.5) >= 0.04

        def minute():
            routes = json.loads(admin.ask_unix("GET /v1/routes").body)["routes"]
            return next(route["last_minute"] for route in routes if route["name"] == "waits")

        eventually(lambda: minute()["requests"] == len(paths), "the last minute with all requests")
        page = admin.ask_unix("GET /?view=routes").body.decode()
        row = next(row for row in page.split("<tr")[1:] if "/waits" in row)
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            truth = pytest.approx(percentile(known, share), rel=0.15)
            assert minute()[name] == truth
            assert seconds_of(re.search(f'data-label="{name}"><span>([^<]+)<', row)[1]) == truth


def test_a_client_of_events_stays_over_many_reloads_and_the_memory_of_the_monitor_does_not_grow(tmp_path):
    with Admin(tmp_path, "[server]\nworkers = 1\n") as admin, admin.unix() as wire:
        (monitor,) = monitors(admin.gateway)
        wire.send("GET /v1/events?view=overview HTTP/1.1\r\nHost: any\r\n\r\n")
        wire.read_until(b"event: view")
        memory = []
        for generation in range(2, RELOADS + 2):
            admin.gateway.reload()
            wire.read_until(f"generation {generation} serves".encode())
            wire.read_until(b"event: values")
            memory.append(resident(monitor))
        assert monitors(admin.gateway) == [monitor]
        assert memory[-1] - memory[RELOADS // 2 - 1] < 1000


def resident(pid):
    """The resident memory of a process in kB."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])
