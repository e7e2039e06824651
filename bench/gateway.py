"""gproxy as the checks need it, and its processes apart."""

from contextlib import contextmanager

from bench.peers import Place, gproxy
from bench.scenarios import backends
from bench.server import Server
from gproxy.testing.gateway import free_port


@contextmanager
def running(folder):
    """The gateway before the benchmark's backends."""
    with backends(folder) as behind:
        place = Place(free_port(), behind.ports, folder)
        with Server("gproxy", gproxy(place), place.port, folder) as server:
            yield server


def resident(server):
    """Bytes that the workers have together, and the arbiter; one process is a worker without an arbiter."""
    first, *others = (process.memory_info().rss for process in server.processes())
    return (sum(others), first) if others else (first, 0)
