"""A slow client occupies no backend: its upload is collected, and the response is read ahead."""

import gzip
import random
import re
import socket
import ssl
import time

import pytest

from gproxy.testing.authority import Authority
from gproxy.testing.backends import reply
from gproxy.testing.gateway import PATIENCE, RunningGateway, Wire, eventually, free_port

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
[route:ahead]
path = /ahead
upstream = ahead
[route:half]
path = /half
upstream = one
buffer_response = 4MB
[route:gzip]
path = /ahead/gzip
upstream = ahead
handlers = compress
[route:limited-ahead]
path = /limited/ahead
upstream = limited
buffer_response = 20MB
[route:limited-behind]
path = /limited/behind
upstream = limited
buffer_response = 0
[handler:compress]
[upstream:ahead]
backends = {one}
buffer_response = 20MB
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
breaker_open = 500ms
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
def test_a_client_that_leaves_during_its_upload(play, protocol, how, status):
    path = f"/leaves/{how}"
    if protocol == "http2":
        status = "499"  # a stream has no end that could be taken for a wrong length
    with play.gateway.connect() as wire:
        wire.send(head(path, 10_000) + "x" * 5_000)
        eventually(lambda: kept(play.gateway) == [5_000, 2], "half of the upload")
        if how == "resets":
            wire.reset()
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
        INI.replace("[server]\n", "[server]\nbuffers = 9KB\n")
        .replace("{one}", play.one.url)
        .replace("{two}", play.two.url)
    )
    play.one.act = echo
    with RunningGateway(ini, tmp_path) as gateway, gateway.connect() as first, gateway.connect() as second:
        for wire, size in ((first, 8_000), (second, 16_000)):
            wire.send(head("/", 20_000) + "x" * 8_000)
            eventually(lambda size=size: kept(gateway)[0] == size, "the upload")
        second.send("y" * 9_000)
        assert asked(play.one) == []
        second.send("z" * 3_000)
        assert second.read_response().body == b"x" * 8_000 + b"y" * 9_000 + b"z" * 3_000
        eventually(lambda: kept(gateway) == [8_000, 2], "the end of the second upload")
        first.send("x" * 12_000)
        assert first.read_response().status == 200
        eventually(lambda: kept(gateway) == [0, 1], "the end of the request")


# --- responses

#: More than the systems between gateway and client hold; a read-ahead of 20 MB holds all of it.
DATA = random.Random(1).randbytes(8_000_000)
FRAMINGS = {
    "length": ("Content-Length: 8000000", lambda: DATA),
    "chunked": ("Transfer-Encoding: chunked", lambda: b"%x\r\n%b\r\n0\r\nX-Sum: 7\r\n\r\n" % (len(DATA), DATA)),
    "close": ("Connection: close", lambda: DATA),
}


def download(framing="length"):
    """An act that sends DATA."""

    def act(peer, request):
        fields, data = FRAMINGS[framing]
        try:
            peer.send(f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{fields}\r\n\r\n".encode() + data())
        except OSError:
            peer.close()
            return
        if framing == "close":
            peer.close()

    return act


def endless(peer, request):
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    try:
        while True:
            peer.send(DATA)
    except OSError:
        peer.close()


def reader(port):
    """A client whose system takes little before it reads."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    sock.settimeout(PATIENCE)
    sock.connect(("127.0.0.1", port))
    return Wire(sock)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_slow_reader_leaves_its_backend(play, framing):
    play.one.act = download(framing)
    with reader(play.gateway.port) as wire:
        wire.send("GET /ahead HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        play.one.wait_for_requests(1)
        play.gateway.wait_until_idle()
        assert 1_000_000 < kept(play.gateway)[0] < 8_000_000
        connections = play.one.connections
        play.one.act = reply(b"other")
        assert play.gateway.get("/ahead/other").body == b"other"
        assert play.one.connections == connections + (framing == "close")  # the connection was given back
        assert asked(play.one) == ["/ahead", "/ahead/other"]
        answer = wire.read_response()
        assert (answer.complete, answer.body == DATA) == (True, True)
        assert wire.read_response().body == b"other"
    eventually(lambda: kept(play.gateway)[0] == 0, "the end of the request")


def test_reading_ahead_goes_on_as_the_client_reads(play):
    play.one.act = download()
    with reader(play.gateway.port) as wire:
        wire.send("GET /half HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: kept(play.gateway)[0] > 3_500_000, "bytes that are read ahead")
        wire.read_until(b"\r\n\r\n")
        taken = wire.read_exactly(3_000_000)
        play.gateway.wait_until_idle()  # though the client has not read all 4 MB that were kept
        assert taken + wire.read_exactly(5_000_000) == DATA


def test_a_slow_reader_of_what_a_handler_makes_of_the_response(play):
    play.one.act = download("chunked")
    with reader(play.gateway.port) as wire:
        wire.send("GET /ahead/gzip HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
        play.one.wait_for_requests(1)
        play.gateway.wait_until_idle()
        assert kept(play.gateway)[0] > 1_000_000
        assert gzip.decompress(wire.read_response().body) == DATA


def test_a_slow_reader_over_tls(tmp_path, play):
    play.one.act = download()
    authority, port = Authority(tmp_path), free_port()
    crt, key = authority.issue("gateway.test")
    ini = INI.replace("{one}", play.one.url).replace("{two}", play.two.url)
    ini += f"[tls:a]\ncertificate = {crt}\nkey = {key}\n"
    with RunningGateway(ini, tmp_path, "--bind", f"127.0.0.1:{port} tls") as gateway, reader(port) as plain:
        trusting = ssl.create_default_context(cafile=authority.path)
        with Wire(trusting.wrap_socket(plain.sock, server_hostname="gateway.test")) as wire:
            wire.send("GET /ahead HTTP/1.1\r\nHost: a\r\n\r\n")
            play.one.wait_for_requests(1)
            gateway.wait_until_idle()
            assert kept(gateway)[0] > 1_000_000
            assert wire.read_response().body == DATA
        assert kept(gateway)[0] == 0


@pytest.mark.parametrize(
    ("path", "options", "most"),
    [
        ("/", "", 400_000),  # 256 KiB, and the piece with which they are exceeded
        ("/ahead", "buffers = 1MB", 1_200_000),
        ("/limited/behind", "", 0),
    ],
)
def test_no_more_is_read_ahead_than_allowed(tmp_path, play, path, options, most):
    play.one.act = endless
    ini = (
        INI.replace("[server]\n", f"[server]\n{options}\n")
        .replace("{one}", play.one.url)
        .replace("{two}", play.two.url)
    )
    with RunningGateway(ini, tmp_path) as gateway:
        with reader(gateway.port) as wire:
            wire.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
            wire.read_until(b"\r\n\r\n")
            if most:
                eventually(lambda: kept(gateway)[0] > most // 2, "bytes that are read ahead")
            assert kept(gateway)[0] <= most
            assert sum(gateway.active()) > 0
            # the client leaves
        eventually(lambda: kept(gateway) == [0, 1], "the end of the request")
        gateway.wait_until_idle()
        line = gateway.line(path)
        assert (line["status"], line["reason"]) == ("499", "client_gone")


def test_a_slow_reader_frees_its_place_of_max_requests(play):
    play.one.act = download()
    with reader(play.gateway.port) as wire:
        wire.send("GET /limited/ahead HTTP/1.1\r\nHost: a\r\n\r\n")
        play.one.wait_for_requests(1)
        play.gateway.wait_until_idle()
        play.one.act = reply(b"other")
        assert play.gateway.get("/limited/other").body == b"other"
        assert wire.read_response().body == DATA


def test_a_slow_reader_gets_all_that_came_before_the_backend_broke_off(play):
    def act(peer, request):
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + DATA)
        peer.close()

    play.one.act = act
    with reader(play.gateway.port) as wire:
        wire.send("GET /ahead/broken HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: kept(play.gateway)[0] > 1_000_000, "bytes that are read ahead")
        answer = wire.read_response()
    assert (answer.complete, answer.body == DATA) == (False, True)
    assert play.gateway.line("/ahead/broken")["reason"] == "backend_reset"
    assert kept(play.gateway)[0] == 0


def test_a_client_that_does_not_read_what_was_read_ahead(tmp_path, play):
    play.one.act = download()
    ini = INI.replace("[server]\n", "[server]\nwrite_timeout = 500ms\n")
    ini = ini.replace("{one}", play.one.url).replace("{two}", play.two.url)
    with RunningGateway(ini, tmp_path) as gateway, reader(gateway.port) as wire:
        wire.send("GET /ahead HTTP/1.1\r\nHost: a\r\n\r\n")
        line = gateway.line("/ahead")
        assert line["reason"] == "client_timeout"
        assert 0 < int(line["size"]) < 7_000_000  # without what was read ahead
        assert kept(gateway) == [0, 1]
        (backend,) = gateway.health()["upstreams"]["ahead"]
        assert (backend["active"], backend["failures"]) == (0, 0)


def test_a_stop_cuts_a_slow_reader(tmp_path, play):
    play.one.act = download()
    ini = INI.replace("[server]\n", "[server]\ngrace = 300ms\n")
    ini = ini.replace("{one}", play.one.url).replace("{two}", play.two.url)
    with RunningGateway(ini, tmp_path) as gateway, reader(gateway.port) as wire:
        wire.send("GET /ahead HTTP/1.1\r\nHost: a\r\n\r\n")
        play.one.wait_for_requests(1)
        gateway.wait_until_idle()
        assert kept(gateway)[0] > 1_000_000
        gateway.process.terminate()
        assert gateway.wait() == 0
        line = gateway.line("/ahead")
        assert line["reason"] == "draining"
        assert 0 < int(line["size"]) < 7_000_000


def test_what_a_client_that_leaves_was_not_sent_is_not_in_its_size(play):
    play.one.act = download("chunked")
    with reader(play.gateway.port) as wire:
        wire.send("GET /ahead/leaves HTTP/1.1\r\nHost: a\r\n\r\n")
        play.one.wait_for_requests(1)
        play.gateway.wait_until_idle()
    line = play.gateway.line("/ahead/leaves")
    assert line["reason"] == "client_gone"
    assert 0 < int(line["size"]) < 7_000_000
