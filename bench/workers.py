"""What a request costs with two workers, beside one: with two, the state of limits, turns and metrics is shared.

One and two workers run on the same two cores as clients and backends, so that all else is equal.
"""

from bench.figures import Figure, NotMeasuredError
from bench.load import Generator
from bench.peers import Place, gproxy
from bench.results import CPU, ratio, sample
from bench.scenarios import SCENARIOS, backends
from bench.server import BOTH_CORES, OTHER_CORE, PROXY_CORE, Server
from gproxy.testing.gateway import free_port

_ROUNDS, _SECONDS = 7, 2


def check(folder, _minutes):
    """The CPU time of a request with two workers as a multiple of that with one, in turns."""
    if PROXY_CORE == OTHER_CORE:
        raise NotMeasuredError("two workers need two cores")
    with (
        backends(folder, BOTH_CORES) as behind,
        _running(1, behind.ports, folder) as one,
        _running(2, behind.ports, folder) as two,
    ):
        return [_figure(name, one, two, folder) for name in ("small", "varied")]


def _running(workers, ports, folder):
    own = folder / f"workers-{workers}"
    own.mkdir()
    place = Place(free_port(), ports, own)
    return Server("gproxy", gproxy(place, workers), place.port, own, cores=BOTH_CORES)


def _figure(name, one, two, folder):
    generator = Generator(SCENARIOS[name], folder, BOTH_CORES)
    for server in (one, two):
        generator.run(server.port, 1)
    rounds = [(sample(two, generator, _SECONDS), sample(one, generator, _SECONDS)) for _ in range(_ROUNDS)]
    compared = ratio(*zip(*rounds, strict=True), CPU)
    return Figure(f"{name}: CPU time with two workers as a multiple of one", compared.median, "", 1.04)
