"""Trailers both ways, TE, and Max-Forwards."""

import pytest

from gproxy.testing.backends import Backend
from gproxy.testing.gateway import RunningGateway

INI = """
[route:all]
path = /
upstream = one
[upstream:one]
backends = {url}
[handler:jwt]
secret = a-secret-of-more-than-thirty-two-bytes
forward = sub: X-User-ID
[handler:keys]
use = jwt
secret = a-secret-of-more-than-thirty-two-bytes
sources = header:X-API-Key
"""

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    b"0\r\nX-Sum: 42\r\nContent-Length: 3\r\nSet-Cookie: a=b\r\n\r\n"
)


def script(peer, backend):
    while (request := peer.read_head()) is not None:
        backend.requests.append(request)
        if request["transfer-encoding"]:
            request.raw = peer.read_until(b"\r\n\r\n")
        peer.send(CHUNKED)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with (
        Backend(script) as backend,
        RunningGateway(INI.format(url=backend.url), tmp_path_factory.mktemp("g")) as running,
    ):
        running.backend = backend
        yield running


def last(gateway, count):
    return gateway.backend.wait_for_requests(count)[-1]


def test_a_backends_trailers_are_passed_on_but_for_those_that_would_change_the_message(gateway):
    with gateway.connect() as wire:
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        head = wire.read_until(b"\r\n\r\n")
        assert b"Trailer: X-Sum\r\n" in head
        assert wire.read_until(b"\r\n\r\n") == b"5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n"


def test_an_old_client_gets_the_body_without_them(gateway):
    answer = gateway.ask("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    assert answer.body == b"hello"


def test_a_clients_trailers_are_passed_on_but_for_what_it_may_not_say(gateway):
    seen = len(gateway.backend.requests)
    answer = gateway.ask(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\nX_User_ID: root\r\n"
        "X-User-ID: root\r\nAuthorization: Bearer x\r\nX-Forwarded-For: 1.2.3.4\r\nHost: b\r\n"
        "X-API-Key: k\r\nX_API_Key: k\r\n\r\n"
    )
    assert answer.status == 200
    assert last(gateway, seen + 1).raw.lower() == b"3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("Connection: TE\r\nTE: trailers\r\n", ("trailers", "TE")),
        ("Connection: TE, close\r\nTE: deflate;q=0.5, trailers\r\n", ("trailers", "TE")),
        ("TE: trailers\r\n", (None, None)),
        ("Connection: TE\r\nTE: gzip\r\n", (None, None)),
    ],
)
def test_te_keeps_trailers_only(gateway, lines, expected):
    seen = len(gateway.backend.requests)
    gateway.ask(f"GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
    request = last(gateway, seen + 1)
    assert (request["te"], request["connection"]) == expected


def test_max_forwards_counts_down_and_ends_here(gateway, protocol):
    seen = len(gateway.backend.requests)
    gateway.get("/", "Max-Forwards: 3", method="OPTIONS")
    assert last(gateway, seen + 1)["max-forwards"] == "2"
    gateway.get("/", "Max-Forwards: 3", method="GET")
    assert last(gateway, seen + 2)["max-forwards"] == "3"
    assert gateway.get("/", "Max-Forwards: 0", method="OPTIONS").status == 204
    traced = gateway.get("/a?b", "Max-Forwards: 0", "Cookie: a=b", "X-Mine: 1", method="TRACE")
    assert traced["content-type"] == "message/http"
    version = b"2.0" if protocol == "http2" else b"1.1"
    assert traced.body.startswith(b"TRACE /a?b HTTP/%b\r\n" % version)
    assert b"x-mine: 1\r\n" in traced.body.lower()
    assert b"cookie" not in traced.body.lower()
    assert len(gateway.backend.requests) == seen + 2


def test_trailers_outlive_compression(tmp_path):
    def compressible(peer, backend):
        while peer.read_head() is not None:
            peer.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
                b"0\r\nX-Sum: 42\r\nContent-Digest: sha-256=:x:\r\n\r\n"
            )

    ini = "[gateway]\nhandlers = compress\n[handler:compress]\nmin_size = 1\n" + INI
    with Backend(compressible) as backend, RunningGateway(ini.format(url=backend.url), tmp_path) as gateway:
        with gateway.connect() as wire:
            wire.send("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
            assert b"Content-Encoding: gzip\r\n" in wire.read_until(b"\r\n\r\n")
            assert wire.read_until(b"\r\n\r\n").endswith(b"0\r\nX-Sum: 42\r\n\r\n")


def test_426_says_what_to_upgrade_to(tmp_path, protocol):
    def refuse(peer, backend):
        while peer.read_head() is not None:
            peer.send(
                "HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n"
            )

    with Backend(refuse) as backend, RunningGateway(INI.format(url=backend.url), tmp_path) as gateway:
        answer = gateway.get("/")
        fields = ("websocket", "Upgrade") if protocol == "http1" else (None, None)
        assert (answer.status, answer["upgrade"], answer["connection"]) == (426, *fields)
