"""Streams of one HTTP/2 connection: windows both ways, resets, limits, order; none harms another one."""

import socket
import threading

import pytest
from http2_streams import StreamClient
from scenes import scene

from gproxy.http.h2.events import DataReceived, TrailersReceived
from gproxy.http.h2.frames import CANCEL, MAX_STREAM_ID, NO_ERROR, PROTOCOL_ERROR, window_update
from gproxy.http.headers import Headers
from gproxy.testing.backends import Held, reply, switching
from gproxy.testing.gateway import PATIENCE, Wire, eventually

pytestmark = pytest.mark.usefixtures("h2c")
BACKENDS = "one"
INI = """
[server]
body_timeout = 1s
write_timeout = 1s
max_body = 20MB
[gateway]
handlers = health
[handler:health]
cache = 0s
[route:all]
path = /
upstream = one
buffer_response = 64KiB
[route:patient]
path = /patient
upstream = one
stream = yes
[handler:deaf]
use = handlers:deaf
[route:deaf]
path = /deaf
handlers = deaf
respond = 404
[upstream:one]
backends = {one}
max_fails = 0
"""
HANDLERS = """
import pathlib
import time

from gproxy import Response

def deaf(request, next):
    pathlib.Path("asked").touch()
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
    return Response(200)
"""
BIG = 8_000_000


def big(peer, request):
    """Send a big body as far as it is taken."""
    peer.read_body(request)
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
    peer.sent = 0
    for _ in range(BIG // 8000):
        peer.send(bytes(8000))
        peer.sent += 8000


def by_path(**acts):
    """Answer by the first word of the path."""

    def act(peer, request):
        acts.get(request.line.split("/")[1].split(" ")[0], reply(b"small"))(peer, request)

    return act


# Windows


def test_a_stream_that_is_not_read_stalls_no_other_and_its_backend_waits(play, connect):
    peers = []
    play.one.act = by_path(patient=lambda peer, request: (peers.append(peer), big(peer, request)))
    client = connect(connection_window=1 << 20)
    slow = client.request("/patient")
    client.read_until(lambda: len(client.content(slow)) == 65535)
    for number in range(20):
        assert client.response(client.request(f"/{number}")) == (200, b"small")
    assert len(client.content(slow)) == 65535
    assert peers[0].sent < BIG  # what the kernels and the gateway keep is less
    client.take(slow, 65535)
    assert len(client.response(slow)[1]) == BIG


def test_a_connection_without_window_goes_on_once_it_has_some(play, connect):
    play.one.act = reply(bytes(60_000))
    client = connect(window=1 << 20)
    streams = [client.request(f"/{number}") for number in range(3)]
    assert [len(client.response(one)[1]) for one in streams] == [60_000] * 3


def test_an_upload_waits_for_its_backend_and_stalls_no_other(play, connect):
    go = threading.Event()

    def slowly(peer, request):
        assert go.wait(10)
        reply(b"done")(peer, request)

    play.one.act = by_path(patient=slowly)
    client = connect()
    upload = client.request("/patient", ("content-length", str(BIG)), method="POST", end=False)
    client.read_until(lambda: client.session.has_settings)
    sent = 0
    while client.session.sendable(upload) and sent < BIG:  # until no window comes back any more
        size = min(client.session.sendable(upload), BIG - sent)
        client.session.send_data(upload, bytes(size), end=False)
        client.send()
        sent += size
        assert client.response(client.request("/other")) == (200, b"small")
    go.set()
    client.upload(upload, bytes(BIG - sent), end=True)
    assert client.response(upload) == (200, b"done")
    assert [len(one.body) for one in play.one.requests if one.line.startswith("POST")] == [BIG]


def test_many_bodies_both_ways_at_once(play, connect):
    def echo(peer, request):
        peer.read_body(request)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(request.body), request.body))

    play.one.act = echo
    client = connect(window=1 << 20, connection_window=1 << 21)
    bodies = {client.request(f"/{n}", method="POST", body=bytes([n]) * 200_000): bytes([n]) * 200_000 for n in range(8)}
    for stream, body in bodies.items():
        assert client.response(stream) == (200, body)


# Resets


def test_a_reset_cancels_the_request_of_its_stream_alone(play, connect):
    held = Held()
    play.one.act = by_path(left=held)
    client = connect()
    stream = client.request("/left")
    assert held.asked.acquire(timeout=5)
    client.reset(stream)
    line = play.gateway.line("/left")
    assert (line["status"], line["reason"], line["protocol"]) == ("499", "client_gone", "HTTP/2.0")
    held.go.set()
    assert client.response(client.request("/next")) == (200, b"small")


def test_a_reset_in_the_middle_of_a_download_closes_the_backends_connection(play, connect):
    ended = threading.Event()

    def endless(peer, request):
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nsome")
        peer.read_all()
        ended.set()

    play.one.act = by_path(left=endless)
    client = connect()
    stream = client.request("/left/download")
    client.read_until(lambda: client.content(stream) == b"some")
    client.reset(stream)
    assert ended.wait(5)
    assert play.gateway.line("/left/download")["reason"] == "client_gone"


def test_a_reset_in_the_middle_of_an_upload_is_no_fault_of_the_backend(play, connect):
    client = connect()
    stream = client.request("/left/upload", method="POST", body=bytes(200_000), end=False)  # more than `buffer_request`
    eventually(lambda: play.one.requests, "the request")
    client.reset(stream)
    assert play.gateway.line("/left/upload")["reason"] == "client_gone"
    assert client.response(client.request("/next"))[0] == 200


def test_a_backend_that_breaks_off_resets_the_stream(play, connect):
    def broken(peer, request):
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nsome")
        peer.close()

    play.one.act = by_path(broken=broken)
    client = connect()
    stream = client.request("/broken")
    assert client.reset_code(stream) == 2
    assert client.content(stream) == b"some"
    assert play.gateway.line("/broken")["reason"] == "backend_reset"
    assert client.response(client.request("/next"))[0] == 200


def test_a_fault_of_a_client_ends_its_tunnel_and_the_backends_connection(play, connect):
    ended = threading.Event()

    def tunnel(peer, request):
        peer.send(switching(request))
        peer.read_all()
        ended.set()

    play.one.act = tunnel
    client = connect()
    fields = Headers([("sec-websocket-version", "13")])
    stream = client.session.request("CONNECT", "http", "a", "/faulty", fields, end=False, protocol="websocket")
    client.send()
    assert client.head(stream).status == 200
    client._sock.sendall(window_update(stream.id, 0))
    assert client.reset_code(stream) == PROTOCOL_ERROR
    assert ended.wait(PATIENCE)
    assert play.gateway.line("/faulty")["status"] == "101"


def test_a_lost_connection_cancels_all_its_requests(play, connect):
    held = Held()
    play.one.act = held
    client = connect()
    for number in range(3):
        client.request(f"/lost{number}")
        assert held.asked.acquire(timeout=5)
    client.__exit__()
    for number in range(3):
        assert play.gateway.line(f"/lost{number}")["reason"] == "client_gone"
    held.go.set()


# Messages


def test_a_client_gets_100_when_the_backend_wants_the_body(play, connect):
    def asking(peer, request):
        assert request["expect"] == "100-continue"
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        reply(b"thanks")(peer, request)

    play.one.act = asking
    client = connect()
    stream = client.request("/", ("expect", "100-continue"), ("content-length", "4"), method="PUT", end=False)
    client.read_until(lambda: client.interim(stream))
    assert client.interim(stream) == [100]
    client.upload(stream, b"body", end=True)
    assert client.response(stream) == (200, b"thanks")
    assert play.one.requests[0].body == b"body"


def test_trailers_follow_the_body(play, connect):
    def act(peer, request):
        peer.read_body(request)
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 7\r\n\r\n")

    play.one.act = act
    client = connect()
    stream = client.request("/", ("te", "trailers"))
    assert client.response(stream) == (200, b"body")
    assert [one.pairs for one in client.of(stream, TrailersReceived)] == [[("x-sum", "7")]]


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_the_end_comes_with_the_last_bytes(play, connect, framing):
    def act(peer, request):
        head = b"Content-Length: 8" if framing == "length" else b"Transfer-Encoding: chunked"
        first, last = (b"some", b"more") if framing == "length" else (b"4\r\nsome\r\n", b"4\r\nmore\r\n0\r\n\r\n")
        peer.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (head, first))
        assert go.wait(5)
        peer.send(last)

    go = threading.Event()
    play.one.act = act
    client = connect()
    stream = client.request("/")
    client.read_until(lambda: client.content(stream) == b"some")
    go.set()
    assert client.response(stream) == (200, b"somemore")
    assert [(one.data, one.ended) for one in client.of(stream, DataReceived)] == [(b"some", False), (b"more", True)]


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        ([("expect", "magic")], 417, "expectation"),
        ([(f"x-{number}", "1") for number in range(150)], 431, "header_too_large"),
        ([("content-length", "99000000")], 413, "body_too_large"),
    ],
)
def test_a_rejected_request_has_its_line_and_the_next_one_is_answered(play, connect, fields, status, reason):
    client = connect()
    stream = client.request(f"/{reason}", *fields, method="POST", end=False)
    assert client.head(stream).status == status
    assert client.reset_code(stream) == NO_ERROR
    line = play.gateway.line(f"/{reason}")
    assert (line["status"], line["reason"], line["protocol"]) == (str(status), reason, "HTTP/2.0")
    assert client.response(client.request("/next"))[0] == 200


def test_the_line_of_a_rejected_request_has_the_beginning_of_a_long_path(play, connect):
    client, path = connect(), f"/long/{'x' * 4000}"
    stream = client.request(path, ("content-length", "99000000"), method="POST", end=False)
    assert client.head(stream).status == 413
    assert play.gateway.line(path[:2048])["status"] == "413"


def test_a_malformed_request_has_its_line_too(play, connect):
    client = connect()
    stream = client.request("/malformed", ("connection", "close"))
    assert client.reset_code(stream) == 1
    line = play.gateway.line("/malformed")
    assert (line["status"], line["reason"]) == ("400", "bad_request")
    assert client.response(client.request("/next"))[0] == 200


def test_so_has_one_whose_body_turns_out_to_be_malformed_while_nobody_reads_it(play, connect):
    client, folder = connect(), play.gateway.folder
    stream = client.request("/deaf", ("content-length", "10"), method="POST", body=b"some", end=False)
    eventually((folder / "asked").exists, "the handler")
    client.session.send_data(stream, b"", end=True)
    client.send()
    assert client.reset_code(stream) == 1
    (folder / "go").touch()
    line = play.gateway.line("/deaf")
    assert (line["status"], line["reason"], line["size"]) == ("400", "bad_request", "0")


# Limits of time


def test_a_slow_upload_ends_its_stream_alone(play, connect):
    client = connect()
    stream = client.request("/slow", ("content-length", "10"), method="POST", body=b"some", end=False)
    assert client.head(stream).status == 408
    assert play.gateway.line("/slow")["reason"] == "client_timeout"
    assert client.response(client.request("/next"))[0] == 200


def test_a_client_without_window_ends_its_stream_alone(play, connect):
    play.one.act = by_path(stuck=big)
    client = connect(connection_window=1 << 20)
    stream = client.request("/stuck")
    assert client.reset_code(stream) == CANCEL
    line = play.gateway.line("/stuck")
    assert (line["status"], line["reason"], line["size"]) == ("200", "client_timeout", "65535")
    assert client.response(client.request("/next"))[0] == 200


def test_a_call_whose_time_is_over_ends_as_cancelled(play, connect):
    """Libraries of gRPC take that for their own deadline if it has passed, and INTERNAL_ERROR for a fault."""

    def begin(peer, request):
        peer.read_body(request)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n")
        peer.is_closed()

    play.one.act = begin
    fields = ("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "200m")
    client = connect()
    assert client.reset_code(client.request("/late", *fields, method="POST", body=bytes(5))) == CANCEL
    assert play.gateway.line("/late")["reason"] == "grpc_timeout"


# Order


def test_a_more_urgent_response_comes_first(play, connect):
    play.one.act = by_path(late=reply(bytes(20_000_000)), urgent=reply(bytes(60_000)))
    client = connect(window=1 << 25, connection_window=1 << 25)  # only the kernel's buffers keep the first one back
    late = client.request("/late", ("priority", "u=6"))
    eventually(lambda: len(play.one.requests) == 1, "the first request")
    urgent = client.request("/urgent", ("priority", "u=0"))
    eventually(lambda: len(play.one.requests) == 2, "both requests")
    client.response(urgent)
    client.response(late)
    order = [one.stream.id for one in client.events if isinstance(one, DataReceived) and one.data]
    begins, ends = order.index(urgent.id), len(order) - order[::-1].index(urgent.id)
    assert ends < len(order) - 10
    assert order[begins:ends].count(late.id) <= 3  # what waits for long gets a frame between


# Draining


def test_a_stop_lets_requests_finish_and_refuses_further_ones(tmp_path):
    (tmp_path / "handlers.py").write_text(HANDLERS)
    with scene(INI, "one", tmp_path) as play:
        held = Held(reply(b"late"))
        play.one.act = held
        with StreamClient(play.gateway.port) as client:
            stream = client.request("/slow")
            assert held.asked.acquire(timeout=5)
            play.gateway.process.terminate()
            client.read_until(lambda: len(client.goaways()) == 2)
            assert [one.last_id for one in client.goaways()] == [MAX_STREAM_ID, stream.id]
            held.go.set()
            assert client.response(stream) == (200, b"late")
            while not client.is_closed:
                client.read()
            assert len(client.goaways()) == 2
        assert play.gateway.wait() == 0


def test_a_connection_too_many_is_told_so_in_its_own_protocol(tmp_path):
    (tmp_path / "handlers.py").write_text(HANDLERS)
    ini = INI.replace("[server]", "[server]\nmax_connections = 1")
    with scene(ini, "one", tmp_path) as play, StreamClient(play.gateway.port) as client:
        assert client.response(client.request("/first"))[0] == 200
        with StreamClient(play.gateway.port) as other:
            other.request("/second")
            other.read_until(other.goaways)
            assert [(one.last_id, one.code) for one in other.goaways()] == [(0, NO_ERROR)]
        with Wire(socket.create_connection(("127.0.0.1", play.gateway.port), PATIENCE)) as wire:
            wire.send("GET /third HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.read_response().status == 503
        assert [request.line for request in play.one.requests] == ["GET /first HTTP/1.1"]
        fields = ("status", "reason", "protocol")
        lines = sorted(tuple(line[key] for key in fields) for line in play.gateway.access(3))
    assert lines == [
        ("200", "-", "HTTP/2.0"),
        ("503", "max_connections", "HTTP/1.1"),
        ("503", "max_connections", "HTTP/2.0"),
    ]
