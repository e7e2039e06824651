"""A slow client occupies no backend: its upload is collected before a backend is asked."""

import re
import time

import pytest

from gproxy.testing.backends import reply
from gproxy.testing.gateway import RunningGateway, eventually

BACKENDS = "one two"
INI = """
[server]
state_dir = {tmp}/state
body_timeout = 1s
[gateway]
handlers = health, metrics
timeout = 600ms
[handler:health]
cache = 0s
[handler:metrics]
[route:all]
path = /
upstream = one
[route:long]
path = /long
upstream = one
buffer_request = 1MB
[route:spooled]
path = /spooled
upstream = spooled
[route:limited]
path = /limited
upstream = limited
[route:breaker]
path = /breaker
upstream = breaker
[route:stream]
path = /stream
upstream = one
stream = yes
[route:off]
path = /off
upstream = one
buffer_request = 0
[upstream:one]
backends = {one}
[upstream:spooled]
backends = {one}, {two}
max_fails = 0
spool = 1MB
retries = 2
[upstream:limited]
backends = {one}
max_requests = 1
[upstream:breaker]
backends = {two}
max_fails = 0
retries = 0
breaker = on
breaker_requests = 1
breaker_open = 1s
"""
#: A body that is not collected whole: longer than buffer_request, and than the pieces that it is read in.
LONG = 300_000


def head(path, size, *headers):
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n{lines}\r\n"


def asked(backend):
    """The paths that the backend was asked for."""
    return [request.line.split()[1] for request in backend.requests]


def kept(gateway):
    """The bytes that are kept for slow clients, and the number of requests in flight besides this one."""
    page = gateway.get("/metrics").body.decode()
    return [
        int(float(re.search(rf"(?m)^{name} (\S+)$", page)[1]))
        for name in ("gproxy_buffer_bytes", "gproxy_requests_in_flight")
    ]


@pytest.mark.parametrize(
    ("framing", "parts"),
    [
        ("Content-Length: 10", (b"hello", b"wor", b"ld")),
        ("Transfer-Encoding: chunked", (b"5\r\nhel", b"lo\r\n5\r\nworld\r", b"\n0\r\nX-T: 1\r\n\r\n")),
    ],
)
def test_no_backend_is_asked_before_the_body_is_complete(play, framing, parts):
    with play.gateway.connect() as wire:
        wire.send(f"POST /slow HTTP/1.1\r\nHost: a\r\n{framing}\r\nTrailer: X-T\r\nTE: trailers\r\n\r\n")
        for part in parts:
            assert play.gateway.get("/other").body == b"one"
            wire.send(part)
        assert wire.read_response().status == 200
    assert asked(play.one) == ["/other"] * 3 + ["/slow"]
    assert play.one.requests[-1].body == b"helloworld"
    assert play.one.requests[-1]["content-length"] == ("10" if "10" in framing else None)


def test_the_timeout_begins_once_the_upload_is_complete(play):
    play.one.act = lambda peer, request: (time.sleep(0.4), reply(b"late")(peer, request))
    with play.gateway.connect() as wire:
        wire.send(head("/slow/timeout", 4))
        for piece in ("a", "b", "c", "d"):
            time.sleep(0.25)
            wire.send(piece)
        assert wire.read_response().body == b"late"
    assert float(play.gateway.line("/slow/timeout")["duration"]) > 1.2


def test_a_slow_upload_takes_no_place_of_max_requests(play):
    with play.gateway.connect() as first, play.gateway.connect() as second:
        for wire in (first, second):
            wire.send(head("/limited/slow", 4) + "ab")
        eventually(lambda: kept(play.gateway)[1] == 3, "both uploads")
        assert play.gateway.get("/limited/other").status == 200
        for wire in (first, second):
            wire.send("cd")
            assert wire.read_response().status == 200


def test_a_slow_upload_is_no_trial_of_a_breaker(play):
    play.two.act = reply(b"no", status="503 No")
    eventually(lambda: "breaker open" in play.gateway.get("/breaker/opens").body.decode(), "the breaker to open")
    play.two.act = reply(b"fine")
    with play.gateway.connect() as wire:
        wire.send(head("/breaker/slow", 4) + "ab")
        eventually(lambda: play.gateway.get("/breaker/trial").status == 200, "another request's trial")
        wire.send("cd")
        assert wire.read_response().status in (200, 503)  # a share of the requests passes while it recovers


def test_an_upload_that_stops_is_408_and_no_backends_fault(play):
    with play.gateway.connect() as wire:
        wire.send(head("/stalled", 4) + "ab")
        assert wire.read_response().status == 408
    line = play.gateway.line("/stalled")
    assert (line["status"], line["reason"], line.get("backend", "-"), line["tries"]) == (
        "408",
        "client_timeout",
        "-",
        "0",
    )
    assert asked(play.one) == []


@pytest.mark.parametrize(("how", "status"), [("closes", "400"), ("resets", "499")])
def test_a_client_that_leaves_during_its_upload(play, how, status):
    path = f"/leaves/{how}"
    with play.gateway.connect() as wire:
        wire.send(head(path, 10_000) + "x" * 5_000)
        eventually(lambda: kept(play.gateway) == [5_000, 2], "half of the upload")
        if how == "resets":
            wire.sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER
    line = play.gateway.line(path)
    assert (line["status"], line["reason"], line["tries"]) == (status, "client_gone", "0")
    assert asked(play.one) == []
    assert kept(play.gateway) == [0, 1]


@pytest.mark.parametrize("path", ["/long", "/spooled"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_more_than_memory_holds_is_collected_on_disk(play, path, framing):
    """buffer_request is longer, or spool allows it."""
    body = bytes(range(256)) * (LONG // 256)
    sent = body if framing == "length" else b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    length = f"Content-Length: {len(body)}" if framing == "length" else "Transfer-Encoding: chunked"
    play.one.act = play.two.act = echo
    with play.gateway.connect() as wire:
        wire.send(f"PUT {path} HTTP/1.1\r\nHost: a\r\n{length}\r\n\r\n".encode() + sent[:-1])
        eventually(lambda: kept(play.gateway)[0] > 60_000, "the beginning in memory")
        assert asked(play.one) + asked(play.two) == []
        wire.send(sent[-1:])
        assert wire.read_response().body == body
    eventually(lambda: kept(play.gateway) == [0, 1], "the end of the request")


def echo(peer, request):
    body = peer.read_body(request).body
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def test_what_was_collected_on_disk_is_sent_again(play):
    body = bytes(range(256)) * (LONG // 256)
    first = []

    def act(peer, request):
        peer.read_body(request)
        if first:
            return peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")
        first.append(request.body)
        return peer.reset()

    play.one.act = play.two.act = act
    assert play.gateway.ask(head("/spooled/again", len(body)).encode() + body).body == b"fine"
    received = [request.body for request in play.one.requests + play.two.requests]
    assert received == [body, body]


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize(("path", "sent"), [("/", 200_000), ("/spooled", 1_500_000)])
def test_a_body_that_is_too_long_is_passed_on_as_it_comes(play, path, sent, framing):
    body = bytes(3_000_000)
    rest = body if framing == "length" else b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    length = f"Content-Length: {len(body)}" if framing == "length" else "Transfer-Encoding: chunked"
    play.one.act = play.two.act = count
    with play.gateway.connect() as wire:
        wire.send(f"PUT {path} HTTP/1.1\r\nHost: a\r\n{length}\r\n\r\n".encode() + rest[:sent])
        eventually(lambda: play.one.requests or play.two.requests, "the request at a backend")
        wire.send(rest[sent:])
        assert wire.read_response().body == b"3000000"


def count(peer, request):
    body = peer.read_body(request).body
    answer = b"%d" % len(body)
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("/off", "X: 1"),
        ("/stream", "X: 1"),
        ("/grpc", "Content-Type: application/grpc"),
        ("/grpc", "content-type: application/grpc+proto"),
    ],
)
def test_what_is_not_collected(play, path, header):
    with play.gateway.connect() as wire:
        wire.send(head(path, 4, header) + "ab")
        play.one.wait_for_requests(1)
        wire.send("cd")
        assert wire.read_response().status == 200


def test_without_room_uploads_are_collected_on_disk(tmp_path, play):
    ini = (
        INI.replace("[server]\n", "[server]\nbuffers = 10KB\n")
        .replace("{one}", play.one.url)
        .replace("{two}", play.two.url)
    )
    play.one.act = echo
    with RunningGateway(ini, tmp_path) as gateway, gateway.connect() as first, gateway.connect() as second:
        for wire, size in ((first, 9_000), (second, 18_000)):
            wire.send(head("/", 20_000) + "x" * 9_000)
            eventually(lambda size=size: kept(gateway)[0] == size, "the upload")
        second.send("y" * 9_000)
        assert asked(play.one) == []
        second.send("z" * 2_000)
        assert second.read_response().body == b"x" * 9_000 + b"y" * 9_000 + b"z" * 2_000
        assert kept(gateway)[0] == 9_000
        first.send("x" * 11_000)
        assert first.read_response().status == 200
        eventually(lambda: kept(gateway) == [0, 1], "the end of the request")
