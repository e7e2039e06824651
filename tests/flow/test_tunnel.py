"""WebSockets through the whole chain, with the websockets library on both ends."""

import socket as sockets
import threading
import time

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import serve

from gproxy.testing.backends import Actor, Backend, reply, switching
from gproxy.testing.gateway import RunningGateway, eventually

INI = """
[gateway]
handlers = compress, health, rate_limit
timeout = 500ms
[handler:rate_limit]
limit = 1000/minute
[route:sockets]
path = /ws
upstream = sockets
[route:guarded]
path = /guarded
upstream = sockets
handlers = jwt
[route:idle]
path = /idle
upstream = sockets
tunnel_timeout = 300ms
[route:plain]
path = /plain
upstream = plain
[handler:jwt]
secret = a-secret-of-more-than-thirty-two-bytes
[upstream:sockets]
backends = {sockets}
[upstream:plain]
backends = {plain}
"""


def echo(socket):
    for message in socket:
        if message == "close":
            socket.close(4001, "as asked")
            return
        if message != "quiet":
            socket.send(message)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    def refuse(connection, request):
        return connection.respond(403, "not today") if request.path.endswith("refused") else None

    server = serve(echo, "127.0.0.1", 0, process_request=refuse)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    port = server.socket.getsockname()[1]
    with Actor(reply(b"plain")) as plain:
        ini = INI.format(sockets=f"http://127.0.0.1:{port}", plain=plain.url)
        with RunningGateway(ini, tmp_path_factory.mktemp("tunnel")) as running:
            running.plain = plain
            yield running
    server.shutdown()
    thread.join()


def url(gateway, path):
    return f"ws://127.0.0.1:{gateway.port}{path}"


def all_given_back(gateway):
    return all(b["active"] == 0 for group in gateway.health()["upstreams"].values() for b in group)


def test_messages_both_ways_and_longer_than_the_timeout(gateway):
    with connect(url(gateway, "/ws/chat"), compression=None) as socket:
        for size in (0, 1, 125, 126, 70_000, 900_000):
            socket.send(b"x" * size)
            assert len(socket.recv(timeout=10)) == size
        assert not threading.Event().wait(0.8)  # the route's timeout passes
        socket.send("still here")
        assert socket.recv(timeout=10) == "still here"
        assert socket.ping().wait(10)
    eventually(lambda: all_given_back(gateway), "the lease back")
    eventually(lambda: [line for line in gateway.access() if line["path"] == "/ws/chat"], "the access line")
    line = next(line for line in gateway.access() if line["path"] == "/ws/chat")
    assert (line["status"], line["route"], line["reason"]) == ("101", "sockets", "-")
    assert int(line["size"]) > 900_000
    assert int(line["reqsize"]) > 900_000


def test_the_compression_extension_is_the_two_ends_business(gateway):
    with connect(url(gateway, "/ws"), compression="deflate") as socket:
        assert socket.protocol.extensions
        socket.send("again " * 1000)
        assert socket.recv(timeout=10) == "again " * 1000


def test_the_backend_closes_and_the_client_learns_why(gateway):
    with connect(url(gateway, "/ws")) as socket:
        socket.send("close")
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)
        assert socket.protocol.close_code == 4001
    eventually(lambda: all_given_back(gateway), "the lease back")


def test_a_client_that_vanishes_ends_the_tunnel(gateway):
    with gateway.connect() as wire:
        wire.send(
            "GET /ws/gone HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n\r\n"
        )
        assert wire.read_response().status == 101
    eventually(lambda: all_given_back(gateway), "the lease back")


def test_an_idle_tunnel_ends(gateway):
    with connect(url(gateway, "/idle"), ping_interval=None) as socket:
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)
    eventually(lambda: [line for line in gateway.access() if line["path"] == "/idle"], "the access line")
    assert next(line for line in gateway.access() if line["path"] == "/idle")["reason"] == "tunnel_idle"


def test_a_tunnel_in_which_only_the_client_speaks_is_not_idle(gateway):
    with connect(url(gateway, "/idle/not"), ping_interval=None) as socket:
        for _ in range(6):
            socket.send("quiet")
            time.sleep(0.1)
        socket.send("still here?")
        assert socket.recv(timeout=5) == "still here?"


def test_a_refusal_is_passed_on(gateway):
    with pytest.raises(InvalidStatus) as refused:
        connect(url(gateway, "/ws/refused"))
    assert refused.value.response.status_code == 403


def test_handlers_run_before_the_tunnel(gateway):
    with pytest.raises(InvalidStatus) as refused:
        connect(url(gateway, "/guarded"))
    assert refused.value.response.status_code == 401


@pytest.mark.parametrize(
    "lines",
    [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
        "Upgrade: websocket\r\n",
    ],
)
def test_other_upgrades_are_dropped(gateway, lines):
    before = len(gateway.plain.requests)
    answer = gateway.ask(f"GET /plain HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
    assert answer.body == b"plain"
    seen = gateway.plain.wait_for_requests(before + 1)[before]
    assert (seen["upgrade"], seen["connection"], seen["http2-settings"]) == (None, None, None)


def test_of_several_protocols_the_listed_one_is_asked_for_as_the_client_writes_it(gateway):
    before = len(gateway.plain.requests)
    gateway.ask("GET /plain HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c, WebSocket\r\n\r\n")
    seen = gateway.plain.wait_for_requests(before + 1)[before]
    assert (seen["upgrade"], seen["connection"]) == ("WebSocket", "Upgrade")


def test_early_bytes_of_both_sides_get_through(tmp_path):
    def script(peer, backend):
        peer.send(switching(peer.read_head()) + b"first")
        peer.send(peer.read_exactly(5))
        peer.read_all()

    with (
        Backend(script) as backend,
        RunningGateway(INI.format(sockets=backend.url, plain=backend.url), tmp_path) as gateway,
    ):
        with gateway.connect() as wire:
            wire.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
            assert wire.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
            assert wire.read_exactly(10) == b"firstearly"


@pytest.mark.parametrize("ends", ["backend", "client"])
def test_a_side_that_does_not_end_with_the_other_is_not_waited_for(tmp_path, ends):
    over = threading.Event()

    def script(peer, backend):
        peer.send(switching(peer.read_head()))
        if ends == "backend":
            peer.sock.shutdown(sockets.SHUT_WR)
        over.wait(30)

    with (
        Backend(script) as backend,
        RunningGateway(INI.format(sockets=backend.url, plain=backend.url), tmp_path) as gateway,
    ):
        with gateway.connect() as wire:
            wire.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            wire.read_until(b"\r\n\r\n")
            if ends == "client":
                wire.shut_writing()
            else:
                assert wire.is_closed()
            line = gateway.line("/ws")
            assert (line["status"], line["reason"], 9 < float(line["duration"]) < 12) == ("101", "-", True)
            gateway.wait_until_idle()
        over.set()


def test_a_backend_that_resets_after_its_last_message_is_named_and_the_client_gets_the_message(gateway):
    """As daphne does at the end of each WebSocket: it is no client that has gone."""

    def script(peer, request):
        peer.send(switching(request) + b"last")
        peer.read_exactly(4)
        peer.reset()

    answers, gateway.plain.act = gateway.plain.act, script
    try:
        with gateway.connect() as wire:
            wire.send("GET /plain/reset HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            wire.read_until(b"\r\n\r\n")
            assert wire.read_exactly(4) == b"last"
            wire.send(b"more")
            assert wire.read_all() == b""
    finally:
        gateway.plain.act = answers
    line = gateway.line("/plain/reset")
    assert (line["status"], line["reason"]) == ("101", "backend_reset")


def test_a_half_closed_client_still_hears_the_answer(tmp_path):
    def script(peer, backend):
        peer.send(switching(peer.read_head()))
        peer.send(peer.read_all()[::-1])

    with (
        Backend(script) as backend,
        RunningGateway(INI.format(sockets=backend.url, plain=backend.url), tmp_path) as gateway,
    ):
        with gateway.connect() as wire:
            wire.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nabc")
            wire.read_until(b"\r\n\r\n")
            wire.shut_writing()
            assert wire.read_all() == b"cba"
