"""A connection that hands itself over to a protocol with streams, and what others see of it."""

import math
import socket
from ipaddress import ip_network
from types import SimpleNamespace

import pytest

from gproxy.config.types import Seconds
from gproxy.http.errors import BadMessage
from gproxy.http.headers import Headers
from gproxy.http.phase import TUNNEL, WAIT
from gproxy.http.time_limit import TimeLimit
from gproxy.http.wire import HTTP2_PREFACE
from gproxy.observe.metrics import Metrics
from gproxy.server.context import H2C
from gproxy.server.listeners import register_metrics
from gproxy.server.proxy_protocol_connection import ProxyProtocolConnection
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


# HTTP/2 by prior knowledge

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
MORE = b"\0\0\0\4\0\0\0\0\0"


def calls(some):
    return some.connection.multiplexed and some.connection.multiplexed.calls


@pytest.mark.parametrize("cut", [1, 5, 15, 16, 17, 18, 19, 23, 24, 30])
def test_a_preface_in_any_pieces_is_handed_over_with_all_bytes(scene, scripted, cut):
    data = HTTP2_PREFACE + MORE
    some = scene(script=scripted(data[:cut], data[cut:]), protocols={H2C: Streams})
    some.connection.handle()
    (call,) = calls(some)
    assert call[0] == "run"
    assert call[1] in (data, HTTP2_PREFACE, data[: max(cut, 24)])
    assert some.gateway.rejected == []
    assert len(some.context.connections) == 0


@pytest.mark.parametrize("protocols", [{}, {"h2": Streams}])
def test_without_the_word_a_preface_is_a_505(scene, protocols):
    some = scene(protocols=protocols)
    assert some.serve(HTTP2_PREFACE + MORE).startswith(b"HTTP/1.1 505 ")
    assert calls(some) is None


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"505"),
        (b"PRI * HTTP/2.0\r\nHost: a\r\n\r\n", b"505"),
        (b"GET / HTTP/2.0\r\n\r\n", b"505"),
        (b"nonsense\r\n\r\n", b"400"),
        (GET, b"200"),
    ],
)
def test_with_the_word_all_else_is_answered_as_before(scene, data, status):
    some = scene(protocols={H2C: Streams})
    assert some.serve(data).startswith(b"HTTP/1.1 " + status)
    assert calls(some) is None


def test_a_preface_after_a_request_is_a_505(scene):
    some = scene(protocols={H2C: Streams})
    assert b"HTTP/1.1 505 " in some.serve(GET, HTTP2_PREFACE)
    assert calls(some) is None


@pytest.mark.parametrize("ends", [True, False])
def test_a_part_of_a_preface_has_the_time_of_a_head(scene, ends):
    some = scene(protocols={H2C: Streams}, head_timeout=Seconds(0.001))
    some.client.sendall(HTTP2_PREFACE[:20])
    if ends:
        some.client.shutdown(socket.SHUT_WR)
    some.connection.handle()
    assert some.client.recv(100) == b""
    assert calls(some) is None


def test_a_preface_may_follow_a_proxy_header(scene):
    options = {"trusted_proxies": [ip_network("192.0.2.0/24")], "tls_hosts": None}
    some = scene(ProxyProtocolConnection, options=options, protocols={H2C: Streams})
    some.serve(b"PROXY TCP4 198.51.100.7 192.0.2.1 5000 80\r\n", HTTP2_PREFACE)
    assert calls(some) == [("run", HTTP2_PREFACE)]
    assert some.connection.peer == "198.51.100.7"


def test_each_request_of_a_plain_connection_is_checked(scene):
    assert scene().connection.accept_request("any.test", Headers())
    hosts = SimpleNamespace(is_guarded=lambda host: host == "guarded.test")
    guarded = scene(ProxyProtocolConnection, options={"trusted_proxies": None, "tls_hosts": hosts}).connection
    assert guarded.accept_request("a.test", Headers())
    with pytest.raises(BadMessage, match="its own TLS connection") as raised:
        guarded.accept_request("guarded.test", Headers())
    assert raised.value.status == 421
