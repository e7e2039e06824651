"""What ten thousand kept-alive connections hold, each after an answer, while nothing happens."""

import socket
import time

from bench.figures import Figure, NotMeasuredError
from bench.gateway import resident, running
from bench.requests import request, token
from bench.server import PATIENCE

_CONNECTIONS = 10_000
#: Addresses that clients come from: a client address has ports for about 28,000.
_SOURCES = [f"127.0.0.{number}" for number in range(2, 12)]
_REQUEST = request("/users/1", f"Authorization: Bearer {token()}", "User-Agent: Mozilla/5.0 (bench)", "Accept: */*")


def check(folder, _minutes):
    """Resident memory beyond that of a process that has served already."""
    with running(folder) as server:
        _warm_up(server.port)
        base = resident(server)
        clients = [_client(server.port, number) for number in range(_CONNECTIONS)]
        held = resident(server)
        for client in clients:
            client.close()
    worker, arbiter = ((after - before) / _CONNECTIONS / 1024 for before, after in zip(base, held, strict=True))
    return [
        Figure("base of the workers", base[0] / 2**20, "MiB"),
        Figure("an idle connection, in the workers", worker, "KiB", 12),
        *[Figure("an idle connection, in the arbiter", arbiter, "KiB", 0.1)] * (base[1] > 0),
    ]


def _warm_up(port):
    """A few hundred connections, closed again, so that what is made once is made."""
    for number in range(300):
        _client(port, number).close()
    time.sleep(1)


def _client(port, number):
    """A connection that got its answer and stays."""
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE, (_SOURCES[number % len(_SOURCES)], 0))
    sock.sendall(_REQUEST)
    answer = sock.recv(65536)
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise NotMeasuredError(f"connection {number} got {answer[:80]!r}")
    return sock
