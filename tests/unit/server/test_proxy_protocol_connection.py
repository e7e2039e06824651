"""A PROXY header before the first request, and hosts that require TLS."""

import logging
import socket
from ipaddress import ip_network
from types import SimpleNamespace

import pytest

from gproxy.config.types import Seconds
from gproxy.runtime import Runtime
from gproxy.server.proxy_protocol_connection import ProxyProtocolConnection
from gproxy.testing import Clock

GET = b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n"
HEADER = b"PROXY TCP4 198.51.100.7 192.0.2.1 5000 80\r\n"


def announced(scene, *trusted, tls_hosts=None, **settings):
    proxies = [ip_network(one) for one in trusted or ("192.0.2.0/24",)]
    return scene(ProxyProtocolConnection, options={"trusted_proxies": proxies, "tls_hosts": tls_hosts}, **settings)


def test_the_header_says_whose_connection_it_is(scene):
    some = announced(scene)
    assert some.serve(HEADER, GET).startswith(b"HTTP/1.1 200 ")
    assert some.gateway.requests[0].client == "198.51.100.7"
    assert len(some.context.connections) == 0


def test_a_header_of_the_balancer_itself_keeps_the_peer(scene):
    some = announced(scene)
    some.serve(b"PROXY UNKNOWN\r\n", GET)
    assert some.gateway.requests[0].client == "192.0.2.1"


def test_the_limit_of_an_address_counts_the_announced_one(scene):
    some = announced(scene, max_connections_per_address=1)
    some.context.connections.admit(SimpleNamespace(peer="192.0.2.1", alarm=SimpleNamespace(greenlet=object())))
    assert some.serve(HEADER, GET).startswith(b"HTTP/1.1 200 ")


def test_an_untrusted_peer_is_closed_without_an_answer(scene, caplog):
    some = announced(scene, "198.51.100.0/24")
    some.client.sendall(HEADER + GET)
    some.connection.handle()
    assert some.gateway.requests == some.gateway.rejected == []
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("192.0.2.1: ")
    assert len(some.context.connections) == 0


@pytest.mark.parametrize("data", [GET, b"PROXY TCP4 a b 1 2\r\n", b""])
def test_without_a_header_the_connection_closes_without_an_answer(scene, data):
    some = announced(scene)
    some.client.sendall(data)
    some.client.shutdown(socket.SHUT_WR)
    some.connection.handle()
    assert some.gateway.requests == some.gateway.rejected == []
    assert len(some.context.connections) == 0


def test_a_header_that_does_not_come_in_time(scene):
    some = announced(scene, head_timeout=Seconds(0.001))
    some.client.sendall(HEADER[:8])
    some.connection.handle()
    assert some.gateway.rejected == []


def test_a_connection_with_part_of_a_header_is_not_idle(scene):
    some = announced(scene)
    some.serve(HEADER[:8])
    assert not some.connection.is_idle


def test_without_balancers_the_first_bytes_are_a_request(scene):
    some = scene(ProxyProtocolConnection, options={"trusted_proxies": None, "tls_hosts": None})
    assert some.serve(GET).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [(b"/", b"a.test", 200), (b"/", b"guarded.test", 421), (b"http://guarded.test/", b"a.test", 421)],
)
def test_a_host_that_requires_tls_is_rejected(scene, target, host, status):
    sites = SimpleNamespace(is_guarded=lambda name: name == "guarded.test")
    some = scene(ProxyProtocolConnection, options={"trusted_proxies": None, "tls_hosts": sites})
    got = some.serve(b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    assert got.startswith(f"HTTP/1.1 {status} ".encode())
    assert len(some.gateway.requests) == (status == 200)


def test_warnings_are_throttled_by_their_kind_and_not_by_the_peer(scene, caplog):
    caplog.set_level(logging.DEBUG)
    runtime = Runtime(monotonic=(clock := Clock()))
    for number in range(1, 4):
        for trusted in ("192.0.2.0/24", "198.51.100.0/24"):
            some = announced(scene, trusted, address=(f"192.0.2.{number}", 5000))
            some.context.runtime = runtime
            some.client.sendall(GET)
            some.connection.handle()
    clock.advance(10)
    runtime.throttle.summarize()
    found = [(record.levelno, record.getMessage()) for record in caplog.records]
    untrusted = "connection rejected: not one of the trusted_proxies"
    assert [text.partition(" PROXY header")[0] for level, text in found if level == logging.WARNING] == [
        "192.0.2.1: invalid", f"192.0.2.1: {untrusted}", "invalid", f"{untrusted}: 2 more within 10 s",
    ]  # fmt: skip
    assert (logging.DEBUG, f"192.0.2.3: {untrusted}") in found
