"""What a thousand slow clients do to sixteen fast ones."""

import subprocess
import sys

from bench.figures import Figure, NotMeasuredError
from bench.gateway import running
from bench.load import Generator
from bench.scenarios import Scenario
from bench.server import OTHER_CORE, pinned

_SLOW = 1000
_ROUNDS = 4
_FAST = Scenario("118 bytes of JSON", 16)


def check(folder, _minutes):
    """The fast ones' p99 alone and beside slow ones, in turns; of each the best, as the machine has other work too."""
    fast = Generator(_FAST, folder)
    with running(folder) as server:
        fast.run(server.port, 1)
        rounds = [(_p99(server.port, fast), _p99_beside_slow(server.port, fast)) for _ in range(_ROUNDS)]
    alone, beside = map(min, zip(*rounds, strict=True))
    return [
        Figure("p99 of 16 fast clients alone", alone, "ms"),
        Figure(f"p99 of 16 fast clients beside {_SLOW} slow ones", beside, "ms"),
        Figure("the second as a multiple of the first", beside / alone, "", 3),
    ]


def _p99(port, fast):
    run = fast.run(port, 2)
    if run.errors:
        raise NotMeasuredError(f"{run.errors} requests of fast clients failed")
    return run.p99


def _p99_beside_slow(port, fast):
    command = pinned(OTHER_CORE, [sys.executable, "-m", "bench.slow", port, _SLOW])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as slow:
        try:
            if slow.stdout.readline() != "ready\n":
                raise NotMeasuredError("the slow clients could not connect")
            return _p99(port, fast)
        finally:
            slow.kill()
