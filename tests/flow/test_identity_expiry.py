"""With `end_streams`, a WebSocket or an event stream ends when the identity of its client expires."""

import threading
import time

import jwt
import pytest
from scenes import scene
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve

from gproxy.testing.gateway import eventually

SECRET = "a-secret-of-more-than-thirty-two-bytes"
INI = """
[server]
write_timeout = 20s
[gateway]
handlers = health
timeout = 20s
[handler:health]
cache = 0s
[handler:ending]
use = jwt
secret = a-secret-of-more-than-thirty-two-bytes
end_streams = yes
[handler:lasting]
use = jwt
secret = a-secret-of-more-than-thirty-two-bytes
[handler:outer]
use = jwt
secret = a-secret-of-more-than-thirty-two-bytes
sources = header:X-Outer
end_streams = yes
[handler:ticker]
use = handlers:ticker
[route:all]
path = /
upstream = one
handlers = ending
[route:lasting]
path = /lasting
upstream = one
handlers = lasting
[route:both]
path = /both
upstream = one
handlers = outer, ending
[route:long]
path = /long
upstream = one
handlers = ending
stream = yes
[route:short]
path = /short
upstream = one
handlers = ending
total_timeout = 300ms
[route:quiet]
path = /quiet
upstream = one
handlers = ending
tunnel_timeout = 300ms
[route:sockets]
path = /ws
upstream = sockets
handlers = ending
[route:own]
path = /own
respond = 404
handlers = ending, ticker
[upstream:one]
backends = {one}
max_fails = 1
[upstream:sockets]
backends = {sockets}
max_fails = 1
"""
HANDLERS = '''
import time
from gproxy import Response

def ticker(request, next):
    """An event stream of the gateway's own."""
    def events():
        while True:
            time.sleep(0.05)
            yield b"data: tick\\n\\n"
    return Response(200, events(), {"Content-Type": "text/event-stream"})
'''


def echo(socket):
    for message in socket:
        socket.send(message)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("expiry")
    (folder / "handlers.py").write_text(HANDLERS)
    server = serve(echo, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    ini = INI.replace("{sockets}", f"http://127.0.0.1:{server.socket.getsockname()[1]}")
    with scene(ini, "one", folder) as found:
        yield found
    server.shutdown()
    thread.join()


def token(seconds):
    return jwt.encode({"sub": "alice", "exp": time.time() + seconds}, SECRET, "HS256")


def bearer(seconds):
    return f"Authorization: Bearer {token(seconds)}"


def chat(socket):
    """Send messages one after the other, so that the tunnel is never idle."""
    while True:
        socket.send("still here?")
        assert socket.recv(timeout=10) == "still here?"


def ticking(kind, every=0.05):
    """An act that sends pieces without end."""

    def act(peer, request):
        peer.send(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            peer.send("6\r\ntick\r\n\r\n")
            time.sleep(every)

    return act


def is_held_against_a_backend(play):
    """Whether the cut counts: with `max_fails = 1` a backend that has failed once is not healthy."""
    upstreams = play.gateway.health()["upstreams"].values()
    return any(backend["state"] != "healthy" for upstream in upstreams for backend in upstream)


def cut(play, path, *headers):
    """Get an endless response; return how long it lasted, and its access line."""
    began = time.monotonic()
    answer = play.gateway.get(path, *headers)
    seconds = time.monotonic() - began
    assert (answer.status, answer.complete) == (200, False)
    return seconds, play.gateway.line(path)


@pytest.mark.parametrize("kind", ["text/event-stream", "multipart/x-mixed-replace; boundary=x"])
def test_an_event_stream_ends_with_the_identity(play, kind):
    play.one.act = ticking(kind)
    path = f"/{kind[:4]}"
    seconds, line = cut(play, path, bearer(0.8))
    assert 0.6 < seconds < 5
    assert (line["status"], line["reason"], line["user"]) == ("200", "auth_expired", "alice")
    assert not is_held_against_a_backend(play)
    play.gateway.wait_for_line("because the identity has expired (end_streams of [handler:ending])")


def test_a_response_of_a_route_with_stream_ends_too(play):
    play.one.act = ticking("text/plain")
    _, line = cut(play, "/long", bearer(0.5))
    assert line["reason"] == "auth_expired"


def test_an_event_stream_of_a_handler_ends_too(play):
    _, line = cut(play, "/own", bearer(0.5))
    assert line["reason"] == "auth_expired"


def test_a_websocket_ends_with_the_identity(play):
    url = f"ws://127.0.0.1:{play.gateway.port}/ws"
    with connect(url, additional_headers={"Authorization": f"Bearer {token(0.8)}"}) as socket:
        with pytest.raises(ConnectionClosed):
            chat(socket)
    assert play.gateway.line("/ws")["reason"] == "auth_expired"
    assert not is_held_against_a_backend(play)


def test_a_silent_websocket_ends_as_well(play):
    url = f"ws://127.0.0.1:{play.gateway.port}/ws/silent"
    with connect(url, additional_headers={"Authorization": f"Bearer {token(0.5)}"}) as socket:
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)
    assert play.gateway.line("/ws/silent")["reason"] == "auth_expired"


@pytest.mark.parametrize("reads", ["nothing", "slowly"])
def test_a_client_that_reads_slowly_gains_no_time(play, reads):
    """`write_timeout` is 20 s, and a wait for the client moves the other limits."""

    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        while True:
            peer.send(b"data: " + b"x" * 65536)

    play.one.act = act
    began = time.monotonic()
    with play.gateway.connect() as wire:
        wire.send(f"GET /slow/{reads} HTTP/1.1\r\nHost: a\r\n{bearer(0.8)}\r\n\r\n")
        while reads == "slowly" and wire.read_exactly(200_000):
            time.sleep(0.02)
        line = play.gateway.line(f"/slow/{reads}")
    assert line["reason"] == "auth_expired"
    assert time.monotonic() - began < 10


def test_the_identity_that_expires_first_counts(play):
    play.one.act = ticking("text/event-stream")
    for number, (outer, inner) in enumerate([(0.5, 60), (60, 0.5)]):
        seconds, line = cut(play, f"/both/{number}", bearer(inner), f"X-Outer: {token(outer)}")
        assert line["reason"] == "auth_expired"
        assert seconds < 5


def test_other_limits_hold_as_well(play):
    play.one.act = ticking("text/event-stream")
    assert cut(play, "/short", bearer(60))[1]["reason"] == "deadline_mid_body"
    play.one.act = ticking("text/event-stream", every=2)
    assert cut(play, "/quiet", bearer(60))[1]["reason"] == "tunnel_idle"


def test_a_usual_response_is_not_cut(play):
    """A download that began with a good token may end after it."""

    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
        time.sleep(0.7)
        peer.send("56789")

    play.one.act = act
    assert play.gateway.get("/download", bearer(0.3)).body == b"0123456789"
    assert play.gateway.line("/download")["reason"] == "-"


def test_without_the_option_a_stream_lasts(play):
    ends = threading.Event()

    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        ends.wait(10)
        peer.send("6\r\ntick\r\n\r\n0\r\n\r\n")

    play.one.act = act
    with play.gateway.connect() as wire:
        wire.send(f"GET /lasting HTTP/1.1\r\nHost: a\r\n{bearer(0.3)}\r\n\r\n")
        assert wire.read_until(b"\r\n\r\n")
        time.sleep(0.6)  # the token has expired
        ends.set()
        assert wire.read_until(b"0\r\n\r\n").endswith(b"0\r\n\r\n")
    eventually(lambda: play.gateway.line("/lasting")["reason"] == "-", "a whole response")
