"""Every wait has an end: the exchange's deadline, and the limits of single waits."""

import json
import socket
import struct
import threading

import pytest

from gproxy.testing.backends import reply
from gproxy.testing.gateway import eventually

BACKENDS = "one two"
INI = """
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
read_timeout = 400ms
[upstream:read-first]
backends = {one}
max_fails = 0
read_timeout = 200ms
first_byte_timeout = 800ms
[upstream:narrow]
backends = {one}
max_fails = 0
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
[upstream:gaps]
backends = {one}
max_fails = 0
read_timeout = 1s
[upstream:first]
backends = {one}
max_fails = 0
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
        for name, sock in (("deaf", listener), ("mute", mute)):
            url = "http://127.0.0.1:%d" % sock.getsockname()[1]
            request.module.INI = request.module.INI.replace("{%s}" % name, url)
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


@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_trickled_body_is_cut_at_the_deadline(play, stopwatch, framing, version):
    gone = threading.Event()
    drop = b"1\r\na\r\n" if "chunked" in framing else b"a"

    def act(peer, request):
        peer.send(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n")
        try:
            while not gone.wait(0.05):
                peer.send(drop)
        except OSError:
            gone.set()

    play.one.act = act
    path = f"/drops/{framing[0]}/{version}"
    with stopwatch:
        answer = play.gateway.ask(f"GET {path} HTTP/{version}\r\nHost: a\r\n\r\n")
    assert 0.6 <= stopwatch.seconds < 0.9
    assert answer.status == 200
    assert not answer.complete
    assert 3 <= len(answer.body) < 20
    assert gone.wait(5)
    line = play.gateway.line(path)
    assert line["reason"] == "deadline_mid_body"
    assert line["size"] == str(len(answer.body))


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


def test_events_may_come_later_than_the_timeout_on_a_stream_route(play):
    go = threading.Event()

    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        go.wait(0.8)
        peer.send("data: late\n\n")
        peer.close()

    play.one.act = act
    answer = play.gateway.get("/stream")
    assert answer.complete
    assert answer.body == b"data: late\n\n"
    assert play.gateway.line("/stream")["reason"] == "-"


def test_a_stream_routes_read_timeout_cuts_silence(play, stopwatch, until_gone):
    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        until_gone(peer)

    play.one.act = act
    with stopwatch:
        answer = play.gateway.get("/stream/silent")
    assert 1.0 <= stopwatch.seconds < 1.3
    assert answer.body == b"data: 1\n\n"
    assert not answer.complete
    assert until_gone.left.wait(5)
    assert play.gateway.line("/stream/silent")["reason"] == "read_timeout"


def test_a_stream_route_without_read_timeout_has_no_limit(play):
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


@pytest.mark.parametrize("framing", ["Content-Length: 4", "Transfer-Encoding: chunked"])
def test_a_stalled_upload_is_408_after_body_timeout(play, stopwatch, framing):
    gone = threading.Event()
    play.one.act = lambda peer, request: (peer.read_body(request), gone.set(), peer.close())
    path = f"/upload/stalled/{framing[0]}"
    with play.gateway.connect() as wire, stopwatch:
        wire.send(f"POST {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n1\r\n")
        answer = wire.read_response()
        assert wire.is_closed()
    assert 1.0 <= stopwatch.seconds < 1.4
    assert is_problem(answer, 408)
    assert answer["connection"] == "close"
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
    body = bytes(20_000_000)
    play.one.act = reply(body)
    pause = threading.Event()
    with play.gateway.connect() as wire:
        wire.send("GET /slow-reader HTTP/1.1\r\nHost: a\r\n\r\n")
        pause.wait(0.9)
        answer = wire.read_response()
    assert answer.complete
    assert len(answer.body) == len(body)
    assert play.gateway.line("/slow-reader")["reason"] == "-"


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
        wire.sock.setblocking(False)
        wire.sock.sendall(f"PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n".encode())
        stuck = 0
        while stuck < 30:
            try:
                wire.sock.send(bytes(100_000))
                stuck = 0
            except BlockingIOError:
                stuck += 1
                go.wait(0.01)
            except OSError:  # refused already
                break
        return wire

    upload.go, upload.gone = go, gone
    yield upload
    go.set()


def test_a_client_that_leaves_while_its_upload_is_not_taken(play, unread):
    """With a reset: a mere end would stand behind what its own kernel still has to send, where nobody can see it."""
    upload = unread("/upload-long/unread")
    upload.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    upload.sock.close()
    line = play.gateway.line("/upload-long/unread")
    assert (line["status"], line["reason"]) == ("499", "client_gone")
    assert float(line["duration"]) < 4
    unread.go.set()
    assert unread.gone.wait(10)


def test_an_upload_that_is_not_taken_is_504_at_the_deadline(play, unread):
    wire = unread("/upload-short")
    wire.sock.settimeout(10)
    assert wire.read_response().status == 504
    line = play.gateway.line("/upload-short")
    assert (line["reason"], line["status"]) == ("backend_timeout", "504")
    assert 2.0 <= float(line["duration"]) < 2.6
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
    wire.sock.settimeout(10)
    wire.send(bytes(1_000_000))
    wire.sock.close()
    assert unread.gone.wait(10)
    assert play.gateway.line("/upload-long/slow-pair")["reason"] == "client_gone"
