"""Backends that close idle connections: what the gateway learns of that, and what a POST meets."""

import threading
import time
from contextlib import contextmanager

import pytest

from gproxy.testing.backends import Actor, Backend
from gproxy.testing.gateway import RunningGateway, eventually

INI = """
[route:r]
upstream = u
[upstream:u]
backends = %s
"""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#: The age at which the backends of these tests close an idle connection.
CLOSES_AFTER = 0.8


@contextmanager
def running(folder, script):
    with Backend(script) as backend, RunningGateway(INI % backend.url, folder) as gateway:
        yield gateway, backend


def post(wire, body=b"a"):
    """Send a POST on the connection, and return the status of its response."""
    wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    return wire.read_response().status


def pause(seconds):
    threading.Event().wait(seconds)


@pytest.mark.parametrize("size", [1, 1_000_000])
def test_a_post_that_crosses_the_end_is_one_502(tmp_path, size):
    """A large body too, whose upload breaks off."""

    def script(peer, backend):
        peer.read_request()
        while True:
            backend.requests.append(None)
            peer.send(OK)
            answered = time.monotonic()
            if peer.read_head() is None:
                return
            if time.monotonic() - answered > CLOSES_AFTER:  # the request has crossed the FIN
                peer.reset()
                return
            peer.read_exactly(size)

    with running(tmp_path, script) as (gateway, _):
        statuses = []
        for _ in range(6):
            with gateway.connect() as wire:  # a new one: the 502 may close it, with the rest of the body unread
                statuses.append(post(wire, b"a" * size))
            pause(CLOSES_AFTER + 0.05)
        assert statuses == [200, 502, 200, 200, 200, 200]


def test_a_younger_connection_is_used_again(tmp_path):
    def script(peer, backend):
        peer.sock.settimeout(CLOSES_AFTER)
        while (request := peer.read_request()) is not None:
            backend.requests.append(request)
            peer.send(OK)

    with running(tmp_path, script) as (gateway, backend), gateway.connect() as wire:
        assert post(wire) == 200
        eventually(lambda: backend.open == 0, "the end of the idle connection")
        pause(1.1)  # until the gateway has looked at its idle connections
        assert [post(wire) for _ in range(3)] == [200, 200, 200]
        assert backend.connections == 2
        pause(CLOSES_AFTER - 0.1)
        assert post(wire) == 200  # nobody has met the end of the second one, which is too old
        assert backend.connections == 3


def test_an_announcement_holds_for_the_backend(tmp_path):
    """Another response of the backend announces nothing."""
    with Actor() as backend, RunningGateway(INI % backend.url, tmp_path) as gateway, gateway.connect() as wire:
        fields = iter(["", "Keep-Alive: timeout=1\r\n"])

        def act(peer, request):
            peer.read_body(request)
            peer.send(f"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{next(fields, '')}\r\n")

        backend.act = act
        assert [post(wire) for _ in range(3)] == [200, 200, 200]
        assert backend.connections == 1
        pause(0.6)
        assert post(wire) == 200
        assert backend.connections == 2
