"""Streams of one connection: none stalls another, and the order of sending is that of RFC 9218."""

import socket
from collections import Counter

import pytest
from framecases import frame
from test_frame_cases import PREFACE, FrameWire

from gproxy.testing.backends import Actor, reply
from gproxy.testing.gateway import PATIENCE, RunningGateway

INI = """
[gateway]
handlers = health
[handler:health]
cache = 0s
[route:all]
path = /
upstream = one
[upstream:one]
backends = URL
"""
SIZE = 200_000
#: The window of a connection at its start.
WINDOW = 65_535


@pytest.fixture(scope="module")
def backend():
    with Actor() as backend:
        yield backend


@pytest.fixture(scope="module")
def gateway(backend, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunningGateway, "words", "h2c")
        with RunningGateway(INI.replace("URL", backend.url), tmp_path_factory.mktemp("order")) as gateway:
            yield gateway


@pytest.fixture
def wire(gateway, backend):
    """A connection that has opened the windows of its streams, and not its own."""
    backend.act = reply(bytes(SIZE))
    with FrameWire(socket.create_connection(("127.0.0.1", gateway.port), PATIENCE)) as wire:
        wire.send(PREFACE + frame(f"SETTINGS 0 | 4={2 * SIZE}"))
        yield wire
    gateway.wait_until_idle()


def ask(wire, *requests):
    """Send requests, and read until all have their heads and the connection's window is used up.

    Each stream then waits with a piece; when that is sent, others may come before its next one is there.
    """
    wire.send(b"".join(map(frame, requests)))
    heads, size = 0, 0
    while heads < len(requests) or size < WINDOW:
        kind, _, _, content = wire.next()
        heads += kind == "HEADERS"
        size += len(content) if kind == "DATA" else 0
    assert size == WINDOW


def sent(wire, size):
    """Open the window of the connection by so much; return the streams of the DATA frames, in order."""
    wire.send(frame(f"WINDOW_UPDATE 0 {size}"))
    streams = []
    while size:
        kind, _, stream, content = wire.next()
        if kind == "DATA":
            streams += [stream] * bool(content)
            size -= len(content)
    return streams


def test_a_stream_without_window_stalls_no_other(wire):
    """Nor does one whose window is used up in the middle."""
    wire.send(frame("SETTINGS 0 | 4=1000") + frame("GET 1 /") + frame("GET 3 /"))
    wire.send(frame(f"WINDOW_UPDATE 3 {SIZE}") + frame(f"WINDOW_UPDATE 0 {2 * SIZE}"))
    sizes, ended = Counter(), set()
    while 3 not in ended:
        kind, flags, stream, content = wire.next()
        if kind == "DATA":
            sizes[stream] += len(content)
            ended |= {stream} if flags & 1 else set()
    assert sizes == {1: 1000, 3: SIZE}
    wire.send(frame(f"WINDOW_UPDATE 1 {SIZE}"))
    while 1 not in ended:
        kind, flags, stream, content = wire.next()
        sizes[stream] += len(content)
        ended |= {stream} if flags & 1 else set()
    assert sizes[1] == SIZE


def test_the_lower_urgency_is_sent_first(wire):
    ask(wire, "GET 1 / | priority: u=5", "GET 3 / | priority: u=1")
    assert sent(wire, 48_000)[0] == 3


def test_a_priority_may_change(wire):
    ask(wire, "GET 1 / | priority: u=1", "GET 3 / | priority: u=5")
    wire.send(frame("PRIORITY_UPDATE 0 hex | 00000001 753d37"))  # u=7
    assert sent(wire, 48_000)[0] == 3


def test_the_backend_overrides_the_client(wire, backend):
    urgent = reply(bytes(SIZE), "Priority: u=0")
    plain = reply(bytes(SIZE))
    backend.act = lambda peer, request: (urgent if "/urgent" in request.line else plain)(peer, request)
    ask(wire, "GET 1 / | priority: u=1", "GET 3 /urgent | priority: u=5")
    assert sent(wire, 48_000)[0] == 3


def test_incremental_streams_take_turns(wire):
    ask(wire, "GET 1 / | priority: i", "GET 3 / | priority: i")
    assert set(sent(wire, 160_000)[:4]) == {1, 3}


def test_streams_of_one_urgency_come_in_order(wire):
    ask(wire, "GET 1 /", "GET 3 /")
    assert sent(wire, 48_000)[0] == 1


def test_a_stream_of_the_last_urgency_is_not_starved(wire, backend):
    ask(wire, "GET 1 / | priority: u=7", "GET 3 / | priority: u=0", "GET 5 / | priority: u=0")
    assert 1 in sent(wire, 300_000)


def test_many_streams_end_though_each_piece_of_the_window_is_small(wire):
    wire.send(b"".join(frame(f"GET {stream} /") for stream in range(1, 21, 2)))
    ended, size = set(), 0
    while len(ended) < 10:
        kind, flags, stream, content = wire.next()
        if kind == "DATA":
            ended |= {stream} if flags & 1 else set()
            size += len(content)
            wire.send(frame(f"WINDOW_UPDATE 0 {len(content)}") if content else b"")
    assert size == 10 * SIZE
