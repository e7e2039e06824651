"""Metrics of handlers, queues, waiting backends, connections and tunnels, as Prometheus fetches them."""

import pytest

from gproxy.testing.backends import Held, switching
from gproxy.testing.gateway import eventually

BACKENDS = "slow"
HANDLERS = """
from dataclasses import dataclass


@dataclass
class Fragile:
    def __call__(self, request, next):
        if request.path == "/slow/broken":
            raise ValueError("broken")
        return next(request)
"""
INI = """
[gateway]
handlers = metrics, health
timeout = 20s
[handler:metrics]
[handler:health]
cache = 0s
[handler:fragile]
use = handlers:Fragile
[route:slow]
path = /slow
handlers = fragile
upstream = slow
[upstream:slow]
backends = {slow}
max_requests = 1
queue = 5
breaker = yes
[log]
access = off
"""


@pytest.fixture
def held(play):
    """Let the backend answer only after the test has set the event."""
    play.slow.act = act = Held()
    yield act
    act.go.set()


def test_failures_of_a_handler_are_counted(play):
    assert play.gateway.get("/slow/broken").status == 500
    assert play.gateway.metric('gproxy_handler_errors_total{handler="fragile"}') == 1
    assert play.gateway.metric('gproxy_handler_errors_total{handler="metrics"}') == 0


def test_what_waits_is_shown_and_measured(play, held):
    gateway, backend = play.gateway, play.slow.url.removeprefix("http://")
    with gateway.connect() as first, gateway.connect() as second:
        first.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        waiting = f'gproxy_backend_waiting{{backend="{backend}",upstream="slow"}}'
        eventually(lambda: gateway.metric(waiting) == 1, "a request at the backend")
        second.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: gateway.metric('gproxy_queue_depth{upstream="slow"}') == 1, "a request in the queue")
        assert gateway.metric('gproxy_pool_connections{state="active",upstream="slow"}') == 1
        held.go.set()
        assert first.read_response().status == second.read_response().status == 200
    assert gateway.metric(waiting) == 0
    assert gateway.metric('gproxy_queue_depth{upstream="slow"}') == 0
    assert gateway.metric('gproxy_queue_wait_seconds_count{upstream="slow"}') == 1
    assert gateway.metric('gproxy_connect_duration_seconds_count{upstream="slow"}') >= 1
    assert gateway.metric('gproxy_breaker_state{upstream="slow"}') == 0


def test_tunnels_are_counted(play):
    def act(peer, request):
        peer.send(switching(request))
        peer.sock.recv(1)

    play.slow.act = act
    with play.gateway.connect() as wire:
        wire.send("GET /slow HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        eventually(lambda: play.gateway.metric("gproxy_tunnels") == 1, "the tunnel")
    eventually(lambda: play.gateway.metric("gproxy_tunnels") == 0, "its end")
    assert play.gateway.metric('gproxy_greenlets{worker="1"}') > 1
