"""What a thousand slow clients do to sixteen fast ones."""

import subprocess
import sys

from bench import load
from bench.figures import Figure, NotMeasuredError
from bench.gateway import running
from bench.scenarios import Scenario
from bench.server import OTHER_CORE, pinned

_SLOW = 1000
_ROUNDS = 4
_FAST = Scenario("small answers", "/users/1", 16)


def check(folder, _minutes):
    """The fast ones' p99 alone and beside slow ones, in turns; of each the best, as the machine has other work too."""
    with running(folder) as server:
        load.run(server.port, _FAST, 1, folder)
        rounds = [(_p99(server.port, folder), _p99_beside_slow(server.port, folder)) for _ in range(_ROUNDS)]
    alone, beside = map(min, zip(*rounds, strict=True))
    return [
        Figure("p99 of 16 fast clients alone", alone, "ms"),
        Figure(f"p99 of 16 fast clients beside {_SLOW} slow ones", beside, "ms"),
        Figure("the second as a multiple of the first", beside / alone, "", 3),
    ]


def _p99(port, folder):
    run = load.run(port, _FAST, 2, folder)
    if run.errors:
        raise NotMeasuredError(f"{run.errors} requests of fast clients failed")
    return run.p99


def _p99_beside_slow(port, folder):
    command = pinned(OTHER_CORE, [sys.executable, "-m", "bench.slow", port, _SLOW])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as slow:
        try:
            if slow.stdout.readline() != "ready\n":
                raise NotMeasuredError("the slow clients could not connect")
            return _p99(port, folder)
        finally:
            slow.kill()
