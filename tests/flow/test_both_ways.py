"""A backend that answers while the upload is under way, and interim responses in any order."""

import threading

import pytest

from gproxy.testing.backends import Backend
from gproxy.testing.gateway import RunningGateway

INI = """
[gateway]
handlers = health
[route:all]
path = /
upstream = one
[route:large]
path = /large
upstream = one
max_body = 10
[upstream:one]
backends = {url}
buffer_request = 0
"""


def echo(peer, backend):
    """Sends every piece back as it comes."""
    request = peer.read_head()
    if request is None or request.line.startswith("GET /health"):
        return
    size = int(request["content-length"] or 0)
    if size:
        peer.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")
        while size:
            size -= len(data := peer.read_exactly(1 if size < 100 else 50_000))
            peer.send(data)
    else:
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while (line := peer.read_until(b"\r\n")) not in (b"0\r\n", b""):
            data = peer.read_exactly(int(line, 16) + 2)
            peer.send(line + data)
        peer.send(line + peer.read_until(b"\r\n"))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with Backend(echo) as backend, RunningGateway(INI.format(url=backend.url), tmp_path_factory.mktemp("g")) as running:
        yield running


def test_each_piece_comes_back_before_the_next_is_sent(gateway, protocol):
    with gateway.connect() as wire:
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
        assert wire.read_until(b"\r\n\r\nabc").startswith(b"HTTP/1.1 200 ")
        for piece in (b"def", b"ghi"):
            wire.send(piece)
            assert wire.read_exactly(3) == piece
        assert protocol == "http2" or wire.is_closed()


def test_so_do_chunks(gateway):
    with gateway.connect() as wire:
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b"3\r\nabc\r\n", b"2\r\nde\r\n"):
            wire.send(piece)
            assert wire.read_until(piece).endswith(piece)
        wire.send(b"0\r\n\r\n")
        assert wire.read_until(b"0\r\n\r\n") == b"0\r\n\r\n"


def test_so_does_a_large_body_while_the_client_sends_on(gateway):
    size = 20_000_000
    with gateway.connect() as wire:
        wire.send(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")
        sender = threading.Thread(target=wire.send, args=(b"x" * size,))
        sender.start()
        wire.read_until(b"\r\n\r\n")
        assert len(wire.read_exactly(size)) == size
        sender.join()


def test_a_client_that_leaves_in_the_middle_frees_the_backend(gateway):
    with gateway.connect() as wire:
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
        wire.read_until(b"\r\n\r\nabc")
    gateway.wait_until_idle()


@pytest.mark.parametrize(
    ("path", "rest", "reason"),
    [
        ("/leaves", b"", "client_gone"),
        ("/garbles", b"no size\r\n", "bad_request"),
        ("/large", b"8\r\nabcdefgh\r\n", "body_too_large"),
    ],
)
def test_what_a_client_does_to_its_upload_is_not_the_backends_fault(gateway, path, rest, reason):
    before = _failures(gateway)
    with gateway.connect() as wire:
        wire.send(f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        wire.read_until(b"3\r\nabc\r\n")
        if rest:
            wire.send(rest)
            assert b"0\r\n" not in wire.read_all()
    assert gateway.line(path)["reason"] == reason
    assert _failures(gateway) == before
    assert "Traceback" not in gateway.errors


def _failures(gateway):
    return [backend["failures"] for backend in gateway.health()["upstreams"]["one"]]


@pytest.mark.parametrize(
    ("interim", "expected"),
    [
        (["103 Early Hints"], [b"HTTP/1.1 103 ", b"HTTP/1.1 403 "]),
        (["102 Processing", "103 Early Hints"], [b"HTTP/1.1 102 ", b"HTTP/1.1 103 ", b"HTTP/1.1 403 "]),
    ],
)
def test_no_100_is_made_up_after_another_interim_response(tmp_path, interim, expected):
    def script(peer, backend):
        peer.read_head()
        for status in interim:
            peer.send(f"HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\n")
        peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with Backend(script) as backend, RunningGateway(INI.format(url=backend.url), tmp_path) as gateway:
        with gateway.connect() as wire:
            wire.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
            heads = [wire.read_until(b"\r\n\r\n") for _ in expected]
            assert [head[: len(start)] for head, start in zip(heads, expected, strict=True)] == expected
            assert all(b"Content-Length: 3" not in head for head in heads)
