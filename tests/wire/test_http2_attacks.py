"""Attacks over HTTP/2: each ends at its limit, costs little memory and CPU time, and disturbs no other client.

Section 10.5 of RFC 9113 names them; the names of published ones are beside them.
"""

import socket
import threading
import time
from contextlib import suppress

import psutil
import pytest
from framecases import frame
from test_frame_cases import PREFACE, FrameWire

from gproxy.testing.backends import Actor, Held, reply
from gproxy.testing.gateway import PATIENCE, RunningGateway, eventually

INI = """
[server]
head_timeout = 1s
body_timeout = 20s
write_timeout = 1s
[gateway]
handlers = health
timeout = 20s
[handler:health]
cache = 0s
[handler:waits]
use = waiting:waits
[route:all]
path = /
upstream = one
buffer_request = 0
[route:waits]
path = /waits
handlers = waits
respond = 200
[upstream:one]
backends = URL
max_fails = 0
"""
WAITING = """
import gevent

def waits(request, next):
    gevent.sleep(1)
    return next(request)
"""
#: What the error log says of a connection that a limit has ended.
CLOSED = ": HTTP/2 connection closed:"
#: More frames than any budget has tokens.
MANY = 3000
#: The most that an attack may cost the worker: seconds of CPU time of an interpreted gateway on a busy machine, bytes.
SECONDS, BYTES = 3.0, 16_000_000
FLOODS = {
    "rapid reset, CVE-2023-44487": ["GET {odd} /", "RST_STREAM {odd} CANCEL"],
    "made you reset, CVE-2025-8671": ["POST {odd} /", "WINDOW_UPDATE {odd} 0"],
    "made you reset by a window": ["POST {odd} /", "WINDOW_UPDATE {odd} 2147483647"],
    "made you reset by DATA": ["POST {odd} / | content-length: 1", "DATA {odd} | more"],
    "malformed requests": ["GET {odd} / | X-Upper: 1"],
    "SETTINGS, CVE-2019-9515": ["SETTINGS 0 | 3=100"],
    "PING, CVE-2019-9512": ["PING 0 | 12345678"],
    "PRIORITY, CVE-2019-9513": ["PRIORITY 1 hex | 00000000 0f"],
    "PRIORITY_UPDATE": ["PRIORITY_UPDATE 0 hex | 00000001 753d30"],
    "WINDOW_UPDATE": ["WINDOW_UPDATE 0 1"],
    "unknown frames": ["kind=0xbb 0 | x"],
    "empty DATA, CVE-2019-9518": ["DATA 1"],
}


@pytest.fixture(scope="module")
def backend():
    with Actor() as backend:
        yield backend


@pytest.fixture(scope="module")
def gateway(backend, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunningGateway, "words", "h2c")
        folder = tmp_path_factory.mktemp("attacked")
        (folder / "waiting.py").write_text(WAITING)
        with RunningGateway(INI.replace("URL", backend.url), folder) as gateway:
            yield gateway


@pytest.fixture(autouse=True)
def costs(gateway, backend):
    """What the attack of a test costs is bounded; afterwards nothing of it is left, and the gateway serves."""
    backend.act = reply()
    worker = psutil.Process(gateway.workers[0] if gateway.workers else gateway.process.pid)
    gateway.get("/warm")
    times, memory = worker.cpu_times(), worker.memory_info().rss
    yield
    spent = worker.cpu_times()
    assert spent.user + spent.system - times.user - times.system < SECONDS
    assert worker.memory_info().rss - memory < BYTES
    backend.act = reply()
    assert gateway.get("/after").status == 200
    gateway.wait_until_idle()
    assert "Traceback" not in gateway.errors


def connected(gateway):
    wire = FrameWire(socket.create_connection(("127.0.0.1", gateway.port), PATIENCE))
    wire.send(PREFACE + frame("SETTINGS"))
    return wire


@pytest.fixture
def wire(gateway):
    with connected(gateway) as wire:
        yield wire


def frames(lines, count, start=0):
    texts = (line.replace("{odd}", str(2 * n + 1)) for n in range(start, start + count) for line in lines)
    return b"".join(map(frame, texts))


def ending(wire):
    """The code of the GOAWAY that ends the connection; 0 without one."""
    code = 0
    with suppress(ConnectionResetError):
        while (found := wire.read_frame()) is not None:
            if found[0] == "GOAWAY":
                code = int.from_bytes(found[3][4:8], "big") or code
    return code


def flood(wire, data):
    """Send it all from another thread, as far as the gateway takes it."""

    def send():
        with suppress(OSError):
            wire.send(data)

    sender = threading.Thread(target=send)
    sender.start()
    code = ending(wire)
    sender.join(PATIENCE)
    return code


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_its_connection(gateway, backend, wire, name):
    backend.requests.clear()
    first = frame("POST 1 /") if "empty" in name else b""
    assert flood(wire, first + frames(FLOODS[name], MANY)) == 11
    assert len(backend.requests) <= 1000
    gateway.wait_for_line(CLOSED)


def test_floods_are_logged_once_in_a_while(gateway):
    """The first of them at once, the number of the others every 10 s."""
    before = gateway.errors.count(CLOSED)
    for _ in range(6):
        with connected(gateway) as wire:
            assert flood(wire, frames(FLOODS["unknown frames"], MANY)) == 11
    gateway.wait_for_line(f"{CLOSED} the budget is spent; the last token went for ")
    assert gateway.errors.count(CLOSED) - before <= 2


def test_a_reset_request_counts_until_its_work_has_ended(gateway, wire):
    """A handler that waits for something else does not notice the reset: so a rapid reset admits no more work.

    What follows waits: the client has no more requests under way than it may, and would take a refusal for an error.
    """
    wire.send(frames(["GET {odd} /waits", "RST_STREAM {odd} CANCEL"], 128) + frame("GET 257 /"))
    assert wire.next()[:3] == ("HEADERS", 4, 257)
    assert sum(line["path"] == "/waits" for line in gateway.access()) > 0
    eventually(lambda: sum(line["path"] == "/waits" for line in gateway.access()) == 128, "their end")


def test_requests_beyond_the_limit_are_refused_and_the_others_served(gateway, backend, wire):
    backend.act = held = Held()
    wire.send(frames(["GET {odd} /held"], 150))
    eventually(lambda: len(held.paths) == 128, "all streams at the backend")
    held.go.set()
    refused, served = set(), set()
    while len(refused) + len(served) < 150:
        kind, flags, stream, content = wire.next()
        if kind == "RST_STREAM":
            assert content == b"\0\0\0\7"
            refused.add(stream)
        elif flags & 1:
            served.add(stream)
    assert (len(refused), len(served)) == (22, 128)


@pytest.mark.parametrize(
    ("name", "data", "codes"),
    [
        ("nine CONTINUATIONs", frames(["HEADERS 1 ES hex | 82"], 1) + frames(["CONTINUATION 1 hex"], 9), (11,)),
        ("endless ones, CVE-2024-27316", frames(["HEADERS 1 ES hex | 82"], 1) + frames(["CONTINUATION 1 | x-a: b"], 5000), (11,)),
        ("a long block", frames(["HEADERS 1 ES hex | 82"], 1) + frames([f"CONTINUATION 1 | x-a: {'b' * 16000}"], 5), (11,)),
        ("a block without an end", frames(["HEADERS 1 ES hex | 82"], 1), (11, 1)),
        ("a head without its last byte", frames(["GET 1 /"], 1)[:-1], (11,)),
    ],
)  # fmt: skip
def test_a_block_without_measure_ends_the_connection(wire, name, data, codes):
    started = time.monotonic()
    assert flood(wire, data) in codes
    assert time.monotonic() - started < 5


def test_a_bomb_of_indexed_fields_is_a_head_too_large(gateway, wire):
    """A field of 4,000 bytes in the table, and references of one byte (CVE-2016-6581)."""
    value = "61" * 4000
    wire.send(frame(f"HEADERS 1 EH ES hex | 82 86 84 410161 4003782d61 7fa11e {value} {'be' * 12000}"))
    kind, _, stream, fields = wire.next()
    assert (kind, stream, dict(fields)[":status"]) == ("HEADERS", 1, "431")
    wire.next()
    wire.send(frame("GET 3 /still"))
    assert dict(wire.next()[3])[":status"] == "200"


@pytest.mark.parametrize("crumbs", [False, True])
def test_many_small_fields_are_a_head_too_large(gateway, wire, crumbs):
    name = "cookie" if crumbs else "x-{}"
    fields = " | ".join(f"{name.format(n)}: " for n in range(1400))
    wire.send(frame(f"GET 1 / | {fields}"))
    assert dict(wire.next()[3])[":status"] == "431"


def test_a_client_that_ignores_the_windows_fills_no_memory(gateway, backend, wire):
    """What a slow backend does not read waits within the window of the stream."""
    backend.act = held = Held()
    data = frame("POST 1 /held") + frames([f"DATA 1 | {'x' * 16000}"], 3000)
    codes = []

    def read():
        with suppress(ConnectionResetError):
            while (found := wire.read_frame()) is not None:
                if found[0] in {"RST_STREAM", "GOAWAY"}:
                    codes.append(int.from_bytes(found[3][-4:], "big"))

    reader = threading.Thread(target=read)
    reader.start()
    with suppress(OSError):
        wire.send(data)
    eventually(lambda: codes, "the end of the stream")
    with suppress(OSError):
        wire.sock.shutdown(socket.SHUT_RDWR)
    reader.join(PATIENCE)
    held.go.set()
    assert codes[0] == 3  # FLOW_CONTROL_ERROR


def test_a_client_that_opens_no_window_is_reset(gateway, backend, wire):
    """CVE-2019-9511, -9517: large responses for a client that lets nothing through."""
    backend.act = reply(bytes(1_000_000))
    wire.send(frame("SETTINGS 0 | 4=0") + frames(["GET {odd} /large"], 20))
    reset = set()
    while len(reset) < 20:
        kind, _, stream, content = wire.next()
        if kind == "RST_STREAM":
            assert content == b"\0\0\0\x08"
            reset.add(stream)
    assert {line["reason"] for line in gateway.access() if line["path"] == "/large"} == {"client_timeout"}


def test_others_are_served_meanwhile(gateway, wire):
    """A connection that always has a hundred requests under way holds no other client up."""
    over, times = threading.Event(), []

    def ask():
        for turn in range(0, 1_000_000, 100):
            wire.send(frames(["GET {odd} /busy"], 100, turn))
            ends = 0
            while ends < 100:
                kind, flags, _, _ = wire.next()
                ends += kind == "DATA" and flags & 1
            if over.is_set():
                return

    busy = threading.Thread(target=ask)
    busy.start()
    for _ in range(30):
        started = time.monotonic()
        assert gateway.get("/other").status == 200
        times.append(time.monotonic() - started)
    over.set()
    busy.join(PATIENCE)
    assert not busy.is_alive()
    assert sorted(times)[len(times) // 2] < 0.5
