"""A connection that hands itself over to a protocol with streams, and what others see of it."""

import math
from types import SimpleNamespace

import pytest

from gproxy.http.phase import TUNNEL, WAIT
from gproxy.http.time_limit import TimeLimit
from gproxy.observe.metrics import Metrics
from gproxy.server.listeners import register_metrics
from gproxy.testing import request


class Streams:
    """A protocol that records what it is asked for; `during` runs while it serves."""

    def __init__(self, connection):
        self.connection = connection
        self.calls = []
        self.active_requests = []
        self.is_tunnel = False
        self.during = lambda: None

    def run(self):
        self.calls.append(("run", self.connection._channel.buffer))
        self.during()

    def linger(self, seconds):
        self.calls.append(("linger", seconds))

    def cut(self, limit):
        self.calls.append(("cut", limit))

    def __repr__(self):
        return "STREAMS"


def stream(phase=WAIT, **attributes):
    made = request()
    made.phase = phase
    for name, value in attributes.items():
        setattr(made, name, value)
    return SimpleNamespace(request=made)


@pytest.fixture
def handed(scene):
    """A connection that has been handed over, and its protocol."""
    some = scene()
    some.connection._channel.buffer = b"PRI"
    assert not some.connection._hand_over(Streams)
    return some.connection, some.connection.multiplexed


def test_the_protocol_serves_the_connection_from_the_first_bytes_on(handed):
    connection, streams = handed
    assert streams.calls == [("run", b"PRI")]
    assert streams.connection is connection
    assert repr(connection) == "<ClientConnection 192.0.2.1 STREAMS>"


def test_a_drain_and_a_cut_reach_the_protocol(handed):
    connection, streams = handed
    connection.is_idle = True
    connection.close_if_idle(1.0)
    connection.cut(TimeLimit.CUT)
    assert streams.calls[1:] == [("linger", 1.0), ("cut", TimeLimit.CUT)]
    assert connection.alarm.expires == math.inf


def test_its_requests_are_those_of_the_streams(handed):
    connection, streams = handed
    assert connection.request is None
    assert list(connection.active_requests) == []
    streams.active_requests = [stream(), stream()]
    assert list(connection.active_requests) == streams.active_requests
    assert not connection.is_tunnel
    streams.is_tunnel = True
    assert connection.is_tunnel


def test_without_streams_a_connection_is_its_own_request(scene):
    some, seen = scene(), []
    some.gateway.answer = lambda asked: seen.append(some.connection.active_requests)
    some.connection._channel.buffer = b"GET / HTTP/1.0\r\n\r\n"
    some.client.close()
    some.connection.handle()
    assert seen == [[some.connection]]
    assert some.connection.active_requests == []


def test_the_gauges_count_each_request(handed):
    connection, streams = handed
    streams.active_requests = [stream(), stream(TUNNEL), stream(upstream="app", backend="10.0.0.1:80")]
    metrics = Metrics()
    register_metrics([SimpleNamespace(connections=[connection])], metrics)
    found = {(row.name, *row.labels): row.value for row in metrics.read()}
    assert found["gproxy_connections",] == 1
    assert found["gproxy_requests_in_flight",] == 3
    assert found["gproxy_tunnels",] == 1
    assert found["gproxy_backend_waiting", "app", "10.0.0.1:80"] == 1
