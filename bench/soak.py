"""Mixed traffic for minutes: is anything left behind, in memory, descriptors or greenlets?"""

import json
import socket
import statistics
import sys
import time
from contextlib import contextmanager

from bench.figures import Figure
from bench.requests import request
from bench.scenarios import backends
from bench.server import PATIENCE, Server
from bench.templates import fill
from bench.traffic import Traffic
from gproxy.testing.backends import Backend
from gproxy.testing.gateway import Wire, free_port

#: Between two looks at the memory, in seconds.
_EVERY = 0.5
#: Samples in half a minute.
_WINDOW = 60
#: Traffic before memory is watched: pools and caches fill, logs are rotated, the allocator finds its level; in seconds.
_WARM_UP = 90


def check(folder, minutes):
    """Memory flat within noise, everything given back at the end, nothing answered as it should not be."""
    with _running(folder) as server:
        with Traffic(server.port):
            time.sleep(2)
        base = _settled(server)
        with Traffic(server.port) as traffic:
            time.sleep(_WARM_UP)
            samples = _watch(server, minutes * 60)
        left = _settled(server, base)
    print(*dict.fromkeys(traffic.unexpected[:5]), sep="\n", end="\n" * bool(traffic.unexpected), file=sys.stderr)
    return [
        Figure(f"soaked for {minutes:g} min, exchanges", traffic.done),
        Figure("exchanges that went wrong", len(traffic.unexpected), "", 0),
        *growth(samples),
        Figure("descriptors left open", left["descriptors"] - base["descriptors"], "", 0),
        Figure("greenlets left alive", left["greenlets"] - base["greenlets"], "", 0),
    ]


@contextmanager
def _running(folder):
    with backends(folder) as behind, Backend(lambda peer, _: peer.read_all()) as silent:
        port = free_port()
        config = fill("soak.ini", folder, port=port, backend=behind.port, dead=free_port(), silent=silent.port)
        command = [sys.executable, "-m", "gproxy", "--bind", f"127.0.0.1:{port}", "--config", config]
        with Server("gproxy", command, port, folder) as server:
            yield server


def _settled(server, wanted=None):
    """What the processes hold once it is no more than what is wanted, or once time is up."""
    deadline = time.monotonic() + (PATIENCE if wanted else 5)
    while True:
        time.sleep(1.2)  # /health looks once a second
        held = {"descriptors": sum(one.num_fds() for one in server.processes()), "greenlets": _greenlets(server.port)}
        if time.monotonic() > deadline or (wanted and all(held[name] <= wanted[name] for name in wanted)):
            return held


def _greenlets(port):
    with Wire(socket.create_connection(("127.0.0.1", port), PATIENCE)) as wire:
        wire.send(request("/health"))
        return json.loads(wire.read_response().body)["greenlets"]


def _watch(server, seconds):
    """Resident memory, again and again."""
    samples = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(_EVERY)
        samples.append(server.memory())
    return samples


def growth(samples):
    """What is lost all the time, and what was taken altogether, in the course of the samples.

    Something that leaks does so in every window. The allocator takes a megabyte more in one of them, when for the first
    time several large buffers are held at once, and none in the others.
    """
    kib = [sample / 1024 for sample in samples]
    length = min(_WINDOW, len(kib))
    windows = [kib[start : start + length] for start in range(0, len(kib) - length + 1, length)]
    slope = statistics.median(statistics.linear_regression(range(length), window).slope for window in windows)
    return [
        Figure("memory at the end", kib[-1] / 1024, "MiB"),
        Figure("its growth meanwhile, by that in most windows of half a minute", slope * len(kib), "KiB", 512),
        Figure("its growth from beginning to end", kib[-1] - kib[0], "KiB", 4096),
    ]
