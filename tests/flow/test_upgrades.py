"""Upgrades to other protocols than websocket, as Docker and Kubernetes use them, and what a route's list decides."""

import threading

import pytest

from gproxy.testing.backends import Backend
from gproxy.testing.gateway import RunningGateway

INI = """
[gateway]
handlers = moves, health
[handler:moves]
use = handlers:moves
[route:docker]
path = /docker
upgrades = tcp, spdy/3.1
upstream = daemon
[route:both]
path = /both
upgrades = websocket, tcp
upstream = daemon
[route:idle]
path = /idle
upgrades = tcp
tunnel_timeout = 300ms
upstream = daemon
[route:usual]
path = /usual
upstream = daemon
[route:none]
path = /none
upgrades =
upstream = daemon
[upstream:daemon]
backends = {daemon}
"""
HANDLERS = """
def moves(request, next):
    moved = request.headers.get("x-move-to")
    if moved:
        request.path = moved
    response = next(request)
    response.headers["X-Upgrade"] = repr(request.upgrade)
    return response
"""
BODY = b'{"Detach":false,"Tty":true}'


def switch(peer, protocol):
    peer.send(f"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n")


def daemon(peer, backend):
    """Switch to the protocol that the path's last segment names, and send each line back in upper case."""
    while received := peer.read_head():
        backend.requests.append(received)
        protocol = received.line.split()[1].rpartition("/")[2]
        if not protocol.endswith("early"):
            peer.read_body(received)
        if received["upgrade"] is None or protocol == "refused":
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain")
            continue
        switch(peer, received["upgrade"] if protocol.endswith(("offered", "early")) else protocol)
        if protocol.endswith("early"):
            peer.read_body(received)
        while line := peer.read_until(b"\n"):
            peer.send(line.upper())
        return


@pytest.fixture(scope="module")
def backend():
    with Backend(daemon) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(backend, tmp_path_factory):
    folder = tmp_path_factory.mktemp("upgrades")
    (folder / "handlers.py").write_text(HANDLERS, "utf-8")
    with RunningGateway(INI.format(daemon=backend.url), folder) as running:
        yield running


@pytest.fixture
def seen(backend):
    """Return what the backend has received of the test's request."""
    before = len(backend.requests)
    return lambda: backend.wait_for_requests(before + 1)[before]


def head(method, path, upgrade, *lines, version="1.1"):
    fields = ["Host: a", "Connection: Upgrade", f"Upgrade: {upgrade}", *lines]
    return "\r\n".join([f"{method} {path} HTTP/{version}", *fields, "", ""]).encode()


def talk(wire):
    wire.send(b"ls\n")
    assert wire.read_until(b"\n") == b"LS\n"


def switched(wire):
    """Read the gateway's 101, and return its fields by their names in lower case."""
    line, *fields = wire.read_until(b"\r\n\r\n").decode().strip().split("\r\n")
    assert line.split()[1] == "101"
    return {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}


def test_the_tunnel_begins_after_the_body_of_a_post(gateway, seen):
    with gateway.connect() as wire:
        wire.send(head("POST", "/docker/post/offered", "tcp", f"Content-Length: {len(BODY)}") + BODY + b"early\n")
        fields = switched(wire)
        assert (fields["upgrade"], fields["connection"], fields["x-upgrade"]) == ("tcp", "Upgrade", "'tcp'")
        assert wire.read_until(b"\n") == b"EARLY\n"
        talk(wire)
    received = seen()
    assert (received["upgrade"], received["connection"], received.body) == ("tcp", "Upgrade", BODY)
    line = gateway.line("/docker/post/offered")
    assert (line["status"], line["reason"], line["reqsize"]) == ("101", "-", str(len(BODY) + len(b"early\nls\n")))


def test_the_tunnel_begins_after_the_last_chunk(gateway, seen):
    with gateway.connect() as wire:
        wire.send(head("POST", "/docker/chunks/offered", "tcp", "Transfer-Encoding: chunked"))
        for piece in (b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\nearly\n"):
            wire.send(piece)
        switched(wire)
        assert wire.read_until(b"\n") == b"EARLY\n"
    assert seen().body == b"abcde"


def test_a_backend_that_switches_early_gets_the_body_first(gateway, seen):
    with gateway.connect() as wire:
        wire.send(head("POST", "/docker/early", "tcp", "Content-Length: 10") + b"01234")
        switched(wire)
        wire.send(b"56789")
        talk(wire)
    assert seen().body == b"0123456789"
    assert gateway.line("/docker/early")["reqsize"] == "13"


def test_a_client_that_leaves_within_the_body_ends_the_tunnel(gateway):
    with gateway.connect() as wire:
        wire.send(head("POST", "/docker/left-early", "tcp", "Content-Length: 10") + b"01234")
        switched(wire)
    gateway.wait_until_idle()
    assert gateway.line("/docker/left-early")["status"] == "101"


def test_a_switch_before_the_100_is_a_502(gateway):
    answer = gateway.ask(head("POST", "/docker/x-early", "tcp", "Content-Length: 5", "Expect: 100-continue"))
    assert answer.status == 502
    assert gateway.line("/docker/x-early")["reason"] == "backend_protocol"


def test_the_100_comes_before_the_101(gateway, seen):
    with gateway.connect() as wire:
        wire.send(head("POST", "/docker/expect/offered", "tcp", "Content-Length: 5", "Expect: 100-continue"))
        assert wire.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        wire.send(b"hello")
        switched(wire)
        talk(wire)
    assert seen().body == b"hello"


def test_a_switch_to_another_protocol_is_a_502(gateway):
    answer = gateway.ask(head("GET", "/docker/other", "tcp"))
    assert (answer.status, gateway.line("/docker/other")["reason"]) == (502, "backend_protocol")


def test_a_refusal_is_an_ordinary_response(gateway):
    answer = gateway.ask(head("POST", "/docker/refused", "tcp", "Content-Length: 2") + b"{}")
    assert (answer.status, answer.body) == (200, b"plain")


@pytest.mark.parametrize("written", ["SPDY/3.1", "spdy/3.1"])
def test_the_protocol_stays_as_the_client_writes_it(gateway, seen, written):
    with gateway.connect() as wire:
        wire.send(head("GET", "/docker/offered", written))
        assert switched(wire)["upgrade"] == written
    assert seen()["upgrade"] == written


@pytest.mark.parametrize(
    ("request_head", "upgrade"),
    [
        (head("GET", "/both/refused", "other, TCP, websocket"), "TCP"),
        (head("GET", "/both/refused", "websocket, tcp"), "websocket"),
        (head("POST", "/both/refused", "websocket, tcp"), "tcp"),
        (head("GET", "/both/refused", "websocket, tcp", "Content-Length: 1") + b"x", "tcp"),
        (head("POST", "/usual/refused", "websocket"), None),
        (head("GET", "/usual/refused", "tcp"), None),
        (head("GET", "/usual/refused", "websocket"), "websocket"),
        (head("GET", "/docker/refused", "websocket"), None),
        (head("GET", "/docker/refused", "spdy/3"), None),
        (head("GET", "/none/refused", "websocket, tcp"), None),
        (head("GET", "/both/refused", "h2c, h2, HTTP/2.0"), None),
        (head("GET", "/both/refused", "tcp", version="1.0"), None),
        (head("GET", "/both/refused", "tcp" + ", x" * 100), None),
        (head("GET", "/both/refused", "tcp").replace(b"Connection: Upgrade\r\n", b""), None),
    ],
)
def test_the_first_protocol_that_the_route_lists_is_asked_for(gateway, seen, request_head, upgrade):
    answer = gateway.ask(request_head)
    assert (answer.status, answer["x-upgrade"]) == (200, repr(upgrade))
    assert (seen()["upgrade"], seen()["connection"]) == (upgrade, "Upgrade" if upgrade else None)


@pytest.mark.parametrize(
    ("path", "moved", "upgrade"),
    [
        ("/none/x", "/docker/refused", "tcp"),
        ("/docker/x", "/none/refused", None),
        ("/unknown", "/docker/refused", "tcp"),
        ("/unknown", "/usual/refused", None),
    ],
)
def test_the_route_of_the_rewritten_path_decides(gateway, seen, path, moved, upgrade):
    answer = gateway.ask(head("GET", path, "tcp", f"X-Move-To: {moved}"))
    assert (answer.status, answer["x-upgrade"]) == (200, repr(upgrade))
    assert seen()["upgrade"] == upgrade


def test_an_idle_tunnel_ends(gateway):
    with gateway.connect() as wire:
        wire.send(head("POST", "/idle/offered", "tcp", "Content-Length: 1") + b"x")
        switched(wire)
        assert wire.is_closed()
    assert gateway.line("/idle/offered")["reason"] == "tunnel_idle"


def test_nothing_of_the_body_is_collected_before_the_backend_is_asked(tmp_path):
    """The backend decides about the upgrade as soon as it has the head."""
    decided = threading.Event()

    def script(peer, backend):
        received = peer.read_head()
        decided.set()
        switch(peer, received["upgrade"])
        peer.read_all()

    (tmp_path / "handlers.py").write_text(HANDLERS, "utf-8")
    with Backend(script) as backend, RunningGateway(INI.format(daemon=backend.url), tmp_path) as gateway:
        with gateway.connect() as wire:
            wire.send(head("POST", "/docker", "tcp", "Content-Length: 100"))
            assert decided.wait(10)
            switched(wire)
