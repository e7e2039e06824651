"""What a worker holds of heads: idle connections forget long ones, and names that never repeat are not kept."""

import threading

import psutil
import pytest

from gproxy.testing.backends import Backend
from gproxy.testing.gateway import RunningGateway

INI = """
[route:r]
timeout = 30s
upstream = u
[upstream:u]
backends = {url}
keepalive = 1000
"""
IDLE = 150
#: About 31 kB of a head, and 60 kB of another.
REQUEST = "".join(f"X-Field-{n}: {'a' * 600}\r\n" for n in range(50))
RESPONSE = "".join(f"X-Field-{n}: {'a' * 600}\r\n" for n in range(95))


@pytest.mark.parametrize("long", ["request", "response"])
def test_an_idle_connection_forgets_a_long_head(tmp_path, long):
    """All requests wait at the backend; the heads pass one after the other, so that the worker needs no more memory."""
    fields, response = (REQUEST, "") if long == "request" else ("", RESPONSE)
    turns = [threading.Event() for _ in range(IDLE)]

    def script(peer, backend):
        while (request := peer.read_request()) is not None:
            _, number, kind = request.line.split(" ")[1].split("/")
            turns[int(number)].wait(30)
            peer.send(f"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{response if kind == 'long' else ''}\r\n")

    with Backend(script, backlog=IDLE) as backend, RunningGateway(INI.format(url=backend.url), tmp_path) as gateway:
        worker = psutil.Process(gateway.workers[0])
        wires = [gateway.connect() for _ in range(IDLE)]

        def exchange(kind, fields):
            for turn in turns:
                turn.clear()
            for number, wire in enumerate(wires):
                wire.send(f"GET /{number}/{kind} HTTP/1.1\r\nHost: a\r\n" + ("" if fields else "\r\n"))
            for wire, turn in zip(wires, turns, strict=True):
                if fields:
                    wire.send(f"{fields}\r\n")
                turn.set()
                assert wire.read_response().status == 200

        exchange("short", "")
        before = worker.memory_info().rss
        exchange("long", fields)
        assert worker.memory_info().rss - before < IDLE * 20_000
        for wire in wires:
            wire.sock.close()


def test_names_that_never_repeat_take_no_memory(tmp_path):
    """Of requests and of responses: 20,000 requests with five new names each, after as many that fill all tables."""

    def script(peer, backend):
        while (request := peer.read_request()) is not None:
            number = request.line.split(" ")[1].removeprefix("/")
            peer.send(f"HTTP/1.1 204 Number {number}\r\nX-Response-{number}: {number}\r\n\r\n")

    def new_heads(wire, numbers):
        for begin in numbers:
            group = range(begin, begin + 50)
            names = {number: "".join(f"X-{name}-{number}: {number}\r\n" for name in "ABCDE") for number in group}
            wire.send("".join(f"GET /{number} HTTP/1.1\r\nHost: a\r\n{names[number]}\r\n" for number in group))
            for _ in group:
                assert wire.read_response().status == 204

    with Backend(script) as backend, RunningGateway(INI.format(url=backend.url), tmp_path) as gateway:
        worker = psutil.Process(gateway.workers[0])
        with gateway.connect() as wire:
            new_heads(wire, range(0, 20_000, 50))
            before = worker.memory_info().rss
            new_heads(wire, range(20_000, 40_000, 50))
            assert worker.memory_info().rss - before < 2_000_000
