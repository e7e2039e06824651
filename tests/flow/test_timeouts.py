"""Every wait has an end: the exchange's deadline, and the limits of single waits."""

import json
import socket
import threading

import pytest

from gproxy.testing.backends import reply
from gproxy.testing.gateway import eventually

BACKENDS = "one two"
INI = """
[log]
level = debug
[server]
head_timeout = 5s
body_timeout = 1s
write_timeout = 1s
[gateway]
handlers = health
timeout = 600ms
[handler:health]
cache = 0s
[route:all]
path = /
upstream = one
[route:patient]
path = /patient
upstream = one
timeout = 1s
[route:stream]
path = /stream
upstream = gaps
stream = yes
tunnel_timeout = 1s
[route:events]
path = /events
upstream = one
[route:in-all]
path = /in-all
upstream = one
total_timeout = 300ms
[route:whole]
path = /whole
upstream = one
handlers = whole
[route:passing]
path = /passing
upstream = slow
handlers = passing
[route:queued]
path = /queued
upstream = queued
[route:endless]
path = /endless
upstream = one
stream = yes
[route:first]
path = /first
upstream = first
timeout = 3s
[route:pair]
path = /pair
upstream = pair
[route:deaf]
path = /deaf
upstream = deaf
[route:mute]
path = /mute
upstream = mute
[route:deaf-soon]
path = /deaf/soon
upstream = deaf-soon
[route:deaf-or-two]
path = /deaf/or-two
upstream = deaf-or-two
[route:read]
path = /read
upstream = read
timeout = 3s
[route:read-first]
path = /read-first
upstream = read-first
timeout = 3s
[route:narrow]
path = /narrow
upstream = narrow
[route:aside]
path = /aside
upstream = read
timeout = 3s
handlers = aside
[route:upload-long]
path = /upload-long
upstream = one
timeout = 8s
[route:upload-short]
path = /upload-short
upstream = one
timeout = 2s
[handler:aside]
use = handlers:aside
[upstream:read]
backends = {one}
max_fails = 0
buffer_request = 0
read_timeout = 400ms
[upstream:read-first]
backends = {one}
max_fails = 0
read_timeout = 200ms
first_byte_timeout = 800ms
[upstream:narrow]
backends = {one}
max_fails = 0
buffer_request = 0
per_try_timeout = 200ms
first_byte_timeout = 400ms
read_timeout = 300ms
[upstream:deaf-or-two]
backends = {deaf}, {two}
max_fails = 0
connect_timeout = 200ms
[upstream:mute]
backends = {mute}
max_fails = 0
[upstream:deaf-soon]
backends = {deaf}
max_fails = 0
connect_timeout = 200ms
[upstream:one]
backends = {one}
max_fails = 0
buffer_request = 0
[upstream:gaps]
backends = {one}
max_fails = 0
read_timeout = 800ms
[upstream:slow]
backends = {one}
max_fails = 0
read_timeout = 5s
[upstream:queued]
backends = {one}
max_fails = 0
max_requests = 1
queue = 5
queue_timeout = 5s
[handler:whole]
use = handlers:whole
[handler:passing]
use = handlers:passing
[upstream:first]
backends = {one}
max_fails = 0
buffer_request = 0
first_byte_timeout = 400ms
[upstream:pair]
backends = http://127.0.0.1:1, {two}
max_fails = 0
[upstream:deaf]
backends = {deaf}
max_fails = 0
connect_timeout = 5s
"""
HANDLERS = """
import gevent

def whole(request, next):
    response = next(request)
    response.body = response.read()
    return response

def passing(request, next):
    response = next(request)
    pieces = response.pieces
    def upper():
        for piece in pieces:
            if request.path == "/passing/hang":
                gevent.sleep(60)
            yield piece.upper()
    response.body = upper()
    return response

def aside(request, next):
    part = gevent.spawn(next, request)
    return part.get()
"""


@pytest.fixture(scope="module", autouse=True)
def deaf(request):
    """Two that never accept; one with a full backlog, so that the kernel takes no further connection for it."""
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        socket.socket() as listener,
        socket.socket() as first,
        socket.socket() as second,
    ):
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        first.connect(listener.getsockname())
        second.setblocking(False)
        second.connect_ex(listener.getsockname())
        ini = request.module.INI
        for name, sock in (("deaf", listener), ("mute", mute)):
            ini = ini.replace("{%s}" % name, "http://127.0.0.1:%d" % sock.getsockname()[1])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(request.module, "INI", ini)
            yield


@pytest.fixture(scope="module")
def stage(deaf, stage):
    return stage


@pytest.fixture
def until_gone():
    """An act's way to wait until the gateway leaves."""
    left = threading.Event()

    def wait(peer):
        peer.read_all()
        left.set()

    wait.left = left
    return wait


def is_problem(answer, status, reason_error=None):
    facts = json.loads(answer.body)
    assert facts["status"] == answer.status == status
    assert facts["request_id"] == answer["x-request-id"]
    assert answer["content-type"] == "application/problem+json"
    assert "127.0.0.1" not in repr(answer) and "Traceback" not in repr(answer)
    if reason_error:
        assert answer["proxy-status"] == f"gproxy; error={reason_error}"
    return True


def test_a_backend_that_hangs_is_504_at_the_timeout(play, stopwatch, until_gone):
    play.one.act = lambda peer, request: until_gone(peer)
    with stopwatch:
        answer = play.gateway.get("/hang")
    assert 0.6 <= stopwatch.seconds < 0.9
    assert is_problem(answer, 504, "http_response_timeout")
    assert until_gone.left.wait(5)
    line = play.gateway.line("/hang")
    assert (line["status"], line["reason"], line["tries"]) == ("504", "backend_timeout", "1")
    assert 0.6 <= float(line["duration"]) < 0.9
    assert line["backend"] == f"127.0.0.1:{play.one.port}"
    assert len(play.one.requests) == 1


def test_the_client_connection_survives_a_504(play, until_gone):
    play.one.act = lambda peer, request: until_gone(peer)
    with play.gateway.connect() as wire:
        wire.send("GET /hang/1 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read_response().status == 504
        play.one.act = reply(b"again")
        wire.send("GET /hang/2 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read_response().body == b"again"


def test_a_routes_timeout_stands_above_the_gateways(play, stopwatch, until_gone):
    play.one.act = lambda peer, request: until_gone(peer)
    with stopwatch:
        assert play.gateway.get("/patient").status == 504
    assert 1.0 <= stopwatch.seconds < 1.3


def test_a_trickled_head_is_504_at_the_timeout(play, stopwatch, until_gone):
    def act(peer, request):
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Slow: " + b"a" * 100:
            peer.send(bytes([byte]))
            if until_gone.left.wait(0.05):
                break

    play.one.act = act
    with stopwatch:
        answer = play.gateway.get("/head-drops")
    until_gone.left.set()
    assert 0.6 <= stopwatch.seconds < 0.9
    assert is_problem(answer, 504, "http_response_timeout")


FRAMINGS = {
    "length": ("Content-Length: 15", b"a", b""),
    "chunks": ("Transfer-Encoding: chunked", b"1\r\na\r\n", b"0\r\n\r\n"),
    "close": ("Connection: close", b"a", b""),
}


@pytest.fixture
def trickle(play):
    """The backend sends a body of so many pieces, 60 ms apart, and waits for the gateway to leave unless it is whole."""
    gone = threading.Event()

    def make(framing, pieces):
        field, piece, end = FRAMINGS[framing]

        def act(peer, request):
            peer.send(f"HTTP/1.1 200 OK\r\n{field}\r\n\r\n")
            for _ in range(pieces):
                gone.wait(0.06)
                peer.send(piece)
            if pieces == 15:
                peer.send(end)
            else:
                peer.read_all()
                gone.set()
            peer.close()

        play.one.act = act

    make.gone = gone
    yield make
    gone.set()


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_body_that_moves_is_not_cut(play, stopwatch, trickle, framing, version):
    """It takes longer than the timeout as a whole; each piece comes in time."""
    trickle(framing, 15)
    path = f"/drops/{framing}/{version}"
    with stopwatch:
        answer = play.gateway.ask(f"GET {path} HTTP/{version}\r\nHost: a\r\n\r\n")
    assert stopwatch.seconds > 0.8
    assert (answer.status, answer.body, answer.complete) == (200, b"a" * 15, True)
    assert play.gateway.line(path)["reason"] == "-"


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_body_that_stalls_is_cut_after_the_timeout(play, stopwatch, trickle, framing, version):
    """Without a read_timeout the route's timeout is the longest pause."""
    trickle(framing, 4)
    path = f"/stalls/{framing}/{version}"
    with stopwatch:
        answer = play.gateway.ask(f"GET {path} HTTP/{version}\r\nHost: a\r\n\r\n")
    assert 0.8 <= stopwatch.seconds < 1.2
    assert (answer.status, answer.body, answer.complete) == (200, b"aaaa", False)
    assert trickle.gone.wait(5)
    line = play.gateway.line(path)
    assert (line["reason"], line["size"]) == ("read_timeout", "4")


def test_the_log_names_the_option_that_cut_a_body(play, trickle):
    trickle("length", 1)
    assert not play.gateway.get("/read/named").complete
    play.gateway.wait_for_line(
        f"GET /read/named: backend 127.0.0.1:{play.one.port}: response broken off after 0.4 s without data "
        "(read_timeout of [upstream:read])"
    )


@pytest.mark.parametrize(
    ("path", "option"),
    [
        ("/hang", "0.6 s, timeout of [gateway]"),
        ("/patient", "1 s, timeout of [route:patient]"),
        ("/in-all", "0.3 s, total_timeout of [route:in-all]"),
        ("/narrow", "0.2 s, per_try_timeout of [upstream:narrow]"),
        ("/first", "0.4 s, first_byte_timeout of [upstream:first]"),
        ("/read", "0.4 s, read_timeout of [upstream:read]"),
    ],
)
def test_a_504_names_the_option_to_the_client_and_in_the_log(play, until_gone, path, option):
    play.one.act = lambda peer, request: until_gone(peer)
    answer = play.gateway.get(f"{path}/named")
    assert json.loads(answer.body)["detail"].endswith(f"({option})")
    play.gateway.wait_for_line(option)


def test_total_timeout_bounds_the_body_too(play, stopwatch, trickle):
    trickle("length", 15)
    with stopwatch:
        answer = play.gateway.get("/in-all")
    assert 0.3 <= stopwatch.seconds < 0.55
    assert (answer.status, answer.complete) == (200, False)
    assert play.gateway.line("/in-all")["reason"] == "deadline_mid_body"
    play.gateway.wait_for_line("response broken off after 0.3 s in all (total_timeout of [route:in-all])")


def test_a_handler_that_reads_a_body_has_the_timeout_for_all_of_it(play, stopwatch, trickle):
    """The client has no head yet, though each piece of the backend comes in time."""
    trickle("length", 15)
    with stopwatch:
        answer = play.gateway.get("/whole")
    trickle.gone.set()
    assert 0.6 <= stopwatch.seconds < 0.9
    assert is_problem(answer, 504, "http_response_timeout")


def test_a_body_that_passes_a_handler_has_the_time_between_pieces(play, trickle):
    trickle("chunks", 15)
    answer = play.gateway.get("/passing")
    assert (answer.body, answer.complete) == (b"A" * 15, True)


def test_a_handler_that_hangs_between_two_pieces_is_cut(play, stopwatch, trickle):
    """The option is the route's, even if the backend may be silent for longer."""
    trickle("chunks", 15)
    with stopwatch:
        answer = play.gateway.get("/passing/hang")
    assert 0.6 <= stopwatch.seconds < 0.9
    assert (answer.body, answer.complete) == (b"", False)
    assert play.gateway.line("/passing/hang")["reason"] == "deadline_mid_body"
    play.gateway.wait_for_line("response broken off after 0.6 s without data (timeout of [gateway])")


def test_queueing_is_time_of_the_head(play, stopwatch, until_gone):
    """The second request waits in the queue first, then for a backend that hangs."""
    taken, go = threading.Event(), threading.Event()

    def act(peer, request):
        if "first" in request.line:
            taken.set()
            go.wait(5)
            reply(b"first")(peer, request)
        else:
            until_gone(peer)

    play.one.act = act
    with play.gateway.connect() as first, play.gateway.connect() as second:
        first.send("GET /queued/first HTTP/1.1\r\nHost: a\r\n\r\n")
        assert taken.wait(5)
        second.send("GET /queued/second HTTP/1.1\r\nHost: a\r\n\r\n")
        with stopwatch:
            go.wait(0.4)
            go.set()
            answer = second.read_response()
        assert first.read_response().body == b"first"
    assert 0.6 <= stopwatch.seconds < 0.9
    assert is_problem(answer, 504, "http_response_timeout")
    assert len(play.one.requests) == 2


@pytest.mark.parametrize("path", ["/mute", "/deaf"])
def test_a_backend_that_never_accepts(play, stopwatch, path):
    """One whose kernel still takes connections, and one whose backlog is full."""
    with stopwatch:
        answer = play.gateway.get(path)
    assert 0.6 <= stopwatch.seconds < 0.9
    assert is_problem(answer, 504)
    line = play.gateway.line(path)
    assert (line["status"], line["tries"]) == ("504", "1")
    assert line["reason"] in ("backend_timeout", "connect_timeout")


def test_connect_timeout(play, stopwatch):
    with stopwatch:
        answer = play.gateway.get("/deaf/soon")
    assert 0.2 <= stopwatch.seconds < 0.5
    assert is_problem(answer, 504, "connection_timeout")
    assert play.gateway.line("/deaf/soon")["reason"] == "connect_timeout"


def test_a_connect_timeout_is_tried_on_the_other_backend(play, stopwatch):
    times = []
    for _ in range(2):
        with stopwatch:
            assert play.gateway.get("/deaf/or-two").body == b"two"
        times.append(stopwatch.seconds)
    assert min(times) < 0.2 <= max(times) < 0.5


def test_retries_share_the_one_deadline(play, stopwatch, until_gone):
    """The first backend refuses, the second hangs: 504 at the timeout, whichever comes first."""
    play.two.act = lambda peer, request: until_gone(peer)
    for turn in range(2):
        with stopwatch:
            answer = play.gateway.get(f"/pair/{turn}")
        assert answer.status == 504
        assert 0.6 <= stopwatch.seconds < 0.9
    tries = {play.gateway.line(f"/pair/{turn}")["tries"] for turn in range(2)}
    assert tries == {"1", "2"}


def late(play, head):
    """Let the backend send a head, and its body later than the timeout."""
    go = threading.Event()

    def act(peer, request):
        peer.send(f"HTTP/1.1 200 OK\r\n{head}\r\n")
        go.wait(0.8)
        peer.send("data: late\n\n")
        peer.close()

    play.one.act = act


@pytest.mark.parametrize(
    ("path", "head"),
    [
        ("/stream", ""),
        ("/stream", "Content-Type: text/event-stream\r\n"),
        ("/events", "Content-Type: text/event-stream\r\n"),
        ("/events", "Content-Type: Text/Event-Stream; charset=utf-8\r\n"),
        ("/events", "Content-Type: multipart/x-mixed-replace; boundary=a\r\n"),
        ("/read", "Content-Type: text/event-stream\r\n"),
    ],
)
def test_event_streams_and_stream_routes_may_be_silent_for_longer(play, path, head):
    late(play, head)
    answer = play.gateway.get(path)
    assert answer.complete
    assert answer.body == b"data: late\n\n"
    assert play.gateway.line(path)["reason"] == "-"


@pytest.mark.parametrize("path", ["/events", "/read"])
def test_other_bodies_may_not(play, path):
    late(play, "Content-Type: text/plain\r\n")
    assert not play.gateway.get(f"{path}/other").complete
    assert play.gateway.line(f"{path}/other")["reason"] == "read_timeout"


@pytest.mark.parametrize("kind", ["text/event-stream", "text/plain"])
def test_tunnel_timeout_cuts_a_silent_stream(play, stopwatch, until_gone, kind):
    """It replaces the upstream's read_timeout, which is shorter."""

    def act(peer, request):
        peer.send(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\ndata: 1\n\n")
        until_gone(peer)

    play.one.act = act
    with stopwatch:
        answer = play.gateway.get(f"/stream/silent/{kind}")
    assert 1.0 <= stopwatch.seconds < 1.3
    assert answer.body == b"data: 1\n\n"
    assert not answer.complete
    assert until_gone.left.wait(5)
    assert play.gateway.line(f"/stream/silent/{kind}")["reason"] == "tunnel_idle"
    play.gateway.wait_for_line("response broken off after 1 s without data (tunnel_timeout of [route:stream])")


def test_a_stream_route_has_an_hour_by_default(play):
    go = threading.Event()

    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\n\r\n1")
        go.wait(1.5)
        peer.send("2")
        peer.close()

    play.one.act = act
    assert play.gateway.get("/endless").body == b"12"


def test_a_stream_routes_head_has_the_timeout(play, stopwatch, until_gone):
    play.one.act = lambda peer, request: until_gone(peer)
    with stopwatch:
        assert play.gateway.get("/stream/hang").status == 504
    assert 0.6 <= stopwatch.seconds < 0.9


def test_first_byte_timeout(play, stopwatch, until_gone):
    play.one.act = lambda peer, request: until_gone(peer)
    with stopwatch:
        answer = play.gateway.get("/first")
    assert 0.4 <= stopwatch.seconds < 0.7
    assert is_problem(answer, 504, "http_response_timeout")
    assert play.gateway.line("/first")["reason"] == "first_byte_timeout"


def test_first_byte_timeout_does_not_bound_the_body(play):
    go = threading.Event()

    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        go.wait(0.6)
        peer.send("b")

    play.one.act = act
    assert play.gateway.get("/first/slow-body").body == b"ab"


def test_first_byte_timeout_does_not_run_while_the_client_uploads(play, stopwatch, until_gone):
    """The upload takes longer than it; then the backend hangs, and it counts."""
    play.one.act = lambda peer, request: (peer.read_body(request), until_gone(peer))
    pause = threading.Event()
    with play.gateway.connect() as wire:
        wire.send("POST /first/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
        pause.wait(0.7)
        wire.send("b")
        with stopwatch:
            answer = wire.read_response()
    assert answer.status == 504
    assert stopwatch.seconds < 0.8
    (seen,) = play.one.requests
    assert seen.body == b"ab"


def test_an_upload_slower_than_the_timeout_succeeds(play):
    pause = threading.Event()
    with play.gateway.connect() as wire:
        wire.send("POST /upload/slow HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
        for byte in "abcd":
            pause.wait(0.3)
            wire.send(byte)
        answer = wire.read_response()
    assert (answer.status, answer.body) == (200, b"one")
    assert play.one.requests[0].body == b"abcd"
    assert float(play.gateway.line("/upload/slow")["duration"]) > 1.0


def test_the_deadline_goes_on_after_a_slow_upload(play, stopwatch, until_gone):
    play.one.act = lambda peer, request: (peer.read_body(request), until_gone(peer))
    pause = threading.Event()
    with play.gateway.connect() as wire:
        wire.send("POST /upload/hang HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
        pause.wait(0.8)
        wire.send("b")
        with stopwatch:
            answer = wire.read_response()
    assert answer.status == 504
    assert 0.4 <= stopwatch.seconds < 0.8


def test_an_upload_that_the_backend_takes_slowly_succeeds(play, stopwatch):
    """It takes the backend longer than the timeout, though the systems between have room for most of it."""
    size = 4_000_000
    pause = threading.Event()

    def act(peer, request):
        left = size - len(peer.buffer)
        while left:
            left -= len(peer.sock.recv(min(left, 65536)))
            pause.wait(1.5 * 65536 / size)
        peer.buffer = b""
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntaken")

    play.one.act = act
    with stopwatch:
        answer = play.gateway.ask(
            f"PUT /upload/taken HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n" + "x" * size
        )
    assert (answer.status, answer.body) == (200, b"taken")
    assert stopwatch.seconds > 1.0


@pytest.mark.parametrize("framing", ["Content-Length: 4", "Transfer-Encoding: chunked"])
def test_a_stalled_upload_is_408_after_body_timeout(play, protocol, stopwatch, framing):
    gone = threading.Event()
    play.one.act = lambda peer, request: (peer.read_body(request), gone.set(), peer.close())
    path = f"/upload/stalled/{framing[0]}"
    with play.gateway.connect() as wire, stopwatch:
        wire.send(f"POST {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n1\r\n")
        answer = wire.read_response()
        assert wire.is_closed()
    assert 1.0 <= stopwatch.seconds < 1.4
    assert is_problem(answer, 408)
    assert answer["connection"] == ("close" if protocol == "http1" else None)
    assert gone.wait(5)
    assert not play.one.requests[0].complete
    line = play.gateway.line(path)
    assert (line["status"], line["reason"]) == ("408", "client_timeout")


def test_a_client_that_does_not_read_is_cut(play, stopwatch):
    """It asks for more than all socket buffers hold and reads nothing; the lease is back after write_timeout."""
    gone = threading.Event()

    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        try:
            while True:
                peer.send(bytes(100_000))
        except OSError:
            gone.set()

    play.one.act = act
    with play.gateway.connect() as wire:
        with stopwatch:
            wire.send("GET /endless/unread HTTP/1.1\r\nHost: a\r\n\r\n")
            assert gone.wait(10)
        assert 1.0 <= stopwatch.seconds < 2.5
        line = play.gateway.line("/endless/unread")
        assert line["reason"] == "client_timeout"
        read = len(wire.read_all())
        assert read < 100_000_000
    eventually(lambda: sum(play.gateway.active()) == 0, "idle")


def test_a_client_that_does_not_read_stands_the_deadline_still(play):
    """A slow reader is not the backend's fault: 504 and deadline_mid_body are for slow backends."""
    size = 20_000_000
    play.one.act = reply(bytes(size))
    pause = threading.Event()
    with play.gateway.connect() as wire:
        wire.send("GET /slow-reader HTTP/1.1\r\nHost: a\r\n\r\n")
        pause.wait(0.75)
        wire.read_until(b"\r\n\r\n")
        left = size - len(wire.buffer)
        while left:
            wire.buffer = b""
            assert wire.read_more()
            left -= len(wire.buffer)
    line = play.gateway.line("/slow-reader")
    assert (line["reason"], line["size"]) == ("-", str(size))


# --- between two signs of life, and a backend that does not read


def test_read_timeout_bounds_the_wait_for_the_head(play, stopwatch, until_gone):
    play.one.act = lambda peer, request: until_gone(peer)
    with stopwatch:
        answer = play.gateway.get("/read/hang")
    assert 0.4 <= stopwatch.seconds < 0.7
    assert is_problem(answer, 504, "connection_read_timeout")
    assert play.gateway.line("/read/hang")["reason"] == "read_timeout"


def test_read_timeout_bounds_silence_in_the_head(play, stopwatch, until_gone):
    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\n")
        until_gone.left.wait(0.3)
        peer.send("Content-Length: 2\r\n")
        until_gone(peer)

    play.one.act = act
    with stopwatch:
        answer = play.gateway.get("/read/head")
    assert 0.7 <= stopwatch.seconds < 1.1
    assert is_problem(answer, 504, "connection_read_timeout")


def test_read_timeout_is_no_limit_for_what_goes_on(play):
    pause = threading.Event()

    def act(peer, request):
        for piece in ("HTTP/1.1 200 OK\r\n", "Content-Length: 2\r\n", "\r\n", "a", "b"):
            peer.send(piece)
            pause.wait(0.25)

    play.one.act = act
    assert play.gateway.get("/read/on").body == b"ab"


def test_read_timeout_in_the_body(play, stopwatch, until_gone):
    play.one.act = lambda peer, request: (peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na"), until_gone(peer))
    with stopwatch:
        answer = play.gateway.get("/read/body")
    assert 0.4 <= stopwatch.seconds < 1.0
    assert (answer.status, answer.complete) == (200, False)
    assert play.gateway.line("/read/body")["reason"] == "read_timeout"


def test_read_timeout_does_not_run_during_a_slow_upload(play):
    pause = threading.Event()
    with play.gateway.connect() as wire:
        wire.send("POST /read/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n")
        for byte in "abc":
            pause.wait(0.5)
            wire.send(byte)
        assert wire.read_response().status == 200


def test_no_limit_of_an_attempt_runs_while_the_client_uploads(play):
    """They are 200 to 400 ms; the upload takes longer, piece by piece, and the answer does not come at once."""
    pause = threading.Event()
    play.one.act = lambda peer, request: (
        peer.read_body(request),
        pause.wait(0.05),
        peer.send("HTTP/1.1 204 No Content\r\n\r\n"),
    )
    with play.gateway.connect() as wire:
        wire.send("POST /narrow/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
        for byte in "abcd":
            pause.wait(0.15)
            wire.send(byte)
        assert wire.read_response().status == 204
    assert play.one.requests[0].body == b"abcd"


def test_first_byte_timeout_stands_in_for_read_timeout_before_the_head(play, stopwatch, until_gone):
    play.one.act = lambda peer, request: until_gone(peer)
    with stopwatch:
        assert play.gateway.get("/read-first").status == 504
    assert 0.8 <= stopwatch.seconds < 1.2
    assert play.gateway.line("/read-first")["reason"] == "first_byte_timeout"


def test_the_narrowest_limit_counts(play, stopwatch, until_gone):
    play.one.act = lambda peer, request: until_gone(peer)
    with stopwatch:
        assert play.gateway.get("/narrow").status == 504
    assert 0.2 <= stopwatch.seconds < 0.5
    assert play.gateway.line("/narrow")["reason"] == "per_try_timeout"


def test_a_handler_that_asks_aside_has_the_limits_too(play, stopwatch, until_gone):
    play.one.act = lambda peer, request: until_gone(peer)
    with stopwatch:
        assert play.gateway.get("/aside").status == 504
    assert 0.4 <= stopwatch.seconds < 0.7


@pytest.fixture
def unread(play):
    """The backend takes the head and nothing more of a long upload, whose rest the client has sent."""
    go = threading.Event()
    gone = threading.Event()

    def act(peer, request):
        go.wait(10)
        peer.read_all()
        gone.set()
        peer.close()

    play.one.act = act

    def upload(path):
        wire = play.gateway.connect()
        wire.send(f"PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
        wire.send_while_taken(bytes(100_000), 0.3)
        return wire

    upload.go, upload.gone = go, gone
    yield upload
    go.set()


def test_a_client_that_leaves_while_its_upload_is_not_taken(play, unread):
    """With a reset: a mere end would stand behind what its own kernel still has to send, where nobody can see it."""
    upload = unread("/upload-long/unread")
    upload.reset()
    line = play.gateway.line("/upload-long/unread")
    assert (line["status"], line["reason"]) == ("499", "client_gone")
    assert float(line["duration"]) < 4
    unread.go.set()
    assert unread.gone.wait(10)


def test_an_upload_that_is_not_taken_is_504_at_the_deadline(play, unread):
    wire = unread("/upload-short")
    assert wire.read_response().status == 504
    line = play.gateway.line("/upload-short")
    assert (line["reason"], line["status"]) == ("backend_timeout", "504")
    assert 2.0 <= float(line["duration"]) < 4  # the time begins when the systems between take no more
    wire.sock.close()


def test_an_upload_that_is_not_taken_meets_the_read_timeout(play, unread):
    wire = unread("/read/unread-upload")
    assert play.gateway.line("/read/unread-upload")["reason"] == "read_timeout"
    wire.sock.close()


def test_a_slow_but_living_pair_is_left_alone(play, unread):
    """The upload stands still for longer than it is looked round, both are there, and then it goes on."""
    wire = unread("/upload-long/slow-pair")
    unread.go.wait(1.3)
    unread.go.set()
    wire.send(bytes(1_000_000))
    wire.sock.close()
    assert unread.gone.wait(10)
    assert play.gateway.line("/upload-long/slow-pair")["reason"] == "client_gone"
