"""Slow clients: which are cut, when and with which reason, and what their requests keep from others meanwhile."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from scenes import scene

from gproxy.testing.backends import reply
from gproxy.testing.gateway import PATIENCE, Wire, eventually

BACKENDS = "one limited tried"
INI = """
[server]
min_rate = 100KB
write_timeout = 10s
state_dir = {tmp}/state
[gateway]
handlers = health
timeout = 10s
[handler:health]
cache = 0s
[route:all]
path = /
upstream = one
[route:stream]
path = /stream
upstream = one
stream = yes
[route:limited]
path = /limited
upstream = limited
[route:tried]
path = /tried
upstream = tried
[upstream:one]
backends = {one}
[upstream:limited]
backends = {limited}
max_requests = 1
[upstream:tried]
backends = {tried}
max_fails = 0
breaker = on
breaker_requests = 1
breaker_open = 300ms
"""
#: More than the systems between gateway and client hold.
LONG = 8_000_000
UPLOAD = 6_000_000
#: The part of an upload that comes at once, longer than what the gateway collects before it asks a backend.
AT_ONCE = 80_000
#: The time between two pieces that a slow client sends or takes, in seconds; below every limit of one wait.
TICK = 0.1


def act(peer, request):
    """Take an upload, or send a long response; an event stream if the path says so."""
    peer.read_body(request)
    kind = "text/event-stream" if "events" in request.line else "text/plain"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {LONG}\r\n\r\n"
    peer.send(head if "get" in request.line else "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    if "get" in request.line:
        peer.send(bytes(LONG))


class Upload:
    """A client that sends so many bytes each tick."""

    def __init__(self, gateway, path, size):
        self.path, self.piece, self.wire, self.left = path, bytes(size), gateway.connect(), UPLOAD - AT_ONCE
        self.wire.send(f"PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {UPLOAD}\r\n\r\n".encode() + bytes(AT_ONCE))

    def _send(self, data):
        try:
            self.wire.send(data)
        except OSError:  # the gateway has closed
            pass

    def tick(self):
        self._send(self.piece)
        self.left -= len(self.piece)

    def end(self):
        """Send the rest, and return whether the gateway has taken all of it."""
        self._send(bytes(self.left))
        return self.wire.read_response().status == 200


class Reader:
    """A client that takes so many bytes each tick; its system holds only some for it."""

    def __init__(self, gateway, path, size):
        self.path, self.size, self.taken = path, size, 0
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        # As on a network; loopback's segments are larger than this buffer, and then the kernels wait for timers.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
        sock.settimeout(PATIENCE)
        sock.connect(("127.0.0.1", gateway.port))
        self.wire = Wire(sock)
        self.wire.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

    def tick(self):
        try:
            self.taken += len(self.wire.sock.recv(self.size, socket.MSG_DONTWAIT))
        except OSError:  # nothing is there, or the gateway has closed
            pass

    def end(self):
        """Take the rest, and return whether the response is complete."""
        try:
            while data := self.wire.sock.recv(65536):
                self.taken += len(data)
        except ConnectionResetError:
            pass
        return self.taken > LONG


@pytest.fixture
def client():
    """Make a client; all are closed at the end."""
    with ExitStack() as stack:

        def make(kind, gateway, path, size):
            made = kind(gateway, path, size)
            stack.enter_context(made.wire)
            return made

        yield make


def pass_ticks(clients, seconds):
    clock = threading.Event()
    for _ in range(int(seconds / TICK)):
        for client in clients:
            client.tick()
        clock.wait(TICK)


def test_a_client_below_min_rate_is_cut_after_five_seconds(play, client, tmp_path):
    """Others are not: those that are fast enough, event streams, `stream = yes`, and all of them with `min_rate = 0`."""
    play.one.act = act
    cut = [client(Upload, play.gateway, "/put", 500), client(Reader, play.gateway, "/get", 5000)]
    kept = [
        client(Upload, play.gateway, "/put/fast", 60_000),
        client(Upload, play.gateway, "/stream/put", 500),
        client(Reader, play.gateway, "/get/fast", 60_000),
        client(Reader, play.gateway, "/get/events", 5000),
        client(Reader, play.gateway, "/stream/get", 5000),
    ]
    with scene(INI.replace("min_rate = 100KB", "min_rate = 0"), BACKENDS, tmp_path) as other:
        other.one.act = act
        unpaced = [client(Upload, other.gateway, "/put", 500), client(Reader, other.gateway, "/get", 5000)]
        pass_ticks([*cut, *kept, *unpaced], 9)
        others = [*kept, *unpaced]
        with ThreadPoolExecutor(len(others)) as pool:  # all at once: none may pause while another one ends
            ends = list(pool.map(lambda one: one.end(), others))
        assert [one.path for one, is_complete in zip(others, ends, strict=True) if not is_complete] == []
    put, get = [play.gateway.line(one.path) for one in cut]
    assert (put["status"], put["reason"]) == ("408", "client_slow")
    assert (get["status"], get["reason"]) == ("200", "client_slow")
    assert all(5 < float(line["duration"]) < 20 for line in (put, get))
    answer = cut[0].wire.read_response()
    assert answer.status == 408
    assert b"the request body arrived too slowly (min_rate of [server])" in answer.body
    assert not cut[1].end()
    line = play.gateway.wait_for_line("GET /get:")
    assert line.endswith("response broken off because the client is too slow (min_rate of [server])\n")
    (backend,) = play.gateway.health()["upstreams"]["one"]
    assert (backend["attempts"], backend["failures"]) == (7, 0)


def test_a_slow_reader_frees_its_place_of_max_requests(play, client):
    """It is freed once: later the limit is exact again."""
    play.limited.act = act
    reader = client(Reader, play.gateway, "/limited/get", 5000)
    eventually(lambda: play.gateway.health()["admission"]["limited"]["active"] == 1, "a place is taken")
    assert play.gateway.get("/limited/other").status == 503
    eventually(lambda: play.gateway.health()["admission"]["limited"]["active"] == 0, "the place is freed")
    assert play.gateway.get("/limited/other").status == 200
    assert reader.end()
    play.gateway.wait_until_idle()
    assert play.gateway.health()["admission"]["limited"]["active"] == 0


def test_a_slow_reader_is_no_trial_of_a_breaker(play, client):
    play.tried.act = lambda peer, _: peer.close()
    assert [play.gateway.get("/tried").status for _ in range(2)] == [502, 503]
    play.tried.act = act
    readers = []

    def is_served():
        readers.append(client(Reader, play.gateway, "/tried/get", 5000))
        return readers[-1].wire.sock.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 200"

    eventually(is_served, "a trial")
    play.tried.act = reply(b"fast")
    eventually(lambda: play.gateway.get("/tried").body == b"fast", "others are served")
    assert readers[-1].end()
