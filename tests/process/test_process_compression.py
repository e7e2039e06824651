"""Feature 7: gzip for every compressible response and nothing else; curl is the client."""

import gzip
import json
import time

import brotli
import pytest
from shipped import PUBLIC, UNLIMITED, curl, response, running

TEXT = b"what shrinks, shrinks well; " * 400
KINDS = {
    "text": response(TEXT),
    "json": response(b'{"a": [' + b"1234, " * 900 + b"5]}", "Content-Type: application/json; charset=utf-8\r\n"),
    "small": response(b"too small"),
    "image": response(TEXT, "Content-Type: image/png\r\n"),
    "events": response(TEXT, "Content-Type: text/event-stream\r\n"),
    "range": response(
        TEXT, f"Content-Type: text/plain\r\nContent-Range: bytes 0-{len(TEXT) - 1}/99999\r\n", "206 Partial Content"
    ),
    "encoded": response(gzip.compress(TEXT), "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n"),
    "private": response(TEXT, "Content-Type: text/plain\r\nCache-Control: no-transform\r\n"),
    "error": response(TEXT, status="500 Internal Server Error"),
    "chunked": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"1c\r\nwhat shrinks, shrinks well; \r\n" * 400
    + b"0\r\n\r\n",
    "unclosed": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n" + TEXT,
    "tagged": response(TEXT, 'Content-Type: text/plain\r\nETag: "v1"\r\n'),
}


def by_name(peer, backend):
    while (request := peer.read_request()) is not None:
        backend.requests.append(request)
        name = request.line.split(" ")[1].rpartition("/")[2]
        peer.send(KINDS[name])
        if name == "unclosed":
            return


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gzip")
    with running(folder, UNLIMITED, *PUBLIC, scripts=(None, by_name)) as setup:
        yield setup


def fetch(gateway, kind, *arguments):
    """The head as a dict, and the body as it came over the wire."""
    url = f"http://127.0.0.1:{gateway.port}/orders/{kind}"
    raw = curl("--include", "--raw" if "--compressed" not in arguments else "--no-buffer", *arguments, url)
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return status, {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}, body


@pytest.mark.parametrize("kind", ["text", "json", "error", "chunked", "unclosed", "tagged"])
def test_what_is_compressible_is_compressed(gateway, kind):
    _, head, body = fetch(gateway, kind, "--compressed")
    assert head["content-encoding"] == "gzip"
    assert "accept-encoding" in head["vary"].lower()
    plain_head, plain = fetch(gateway, kind)[1:]
    assert "content-encoding" not in plain_head
    assert "accept-encoding" in plain_head["vary"].lower()
    if kind not in {"chunked", "unclosed"}:
        assert body == plain
    if kind not in {"chunked", "unclosed"}:
        wire = gateway.get(f"/orders/{kind}", "Accept-Encoding: gzip")
        assert gzip.decompress(wire.body) == plain
        assert len(wire.body) < len(plain) / 3
    else:
        assert body == TEXT
    if kind == "tagged":
        assert (head["etag"], plain_head["etag"]) == ('"v1-gzip"', '"v1"')


@pytest.mark.parametrize("kind", ["small", "image", "events", "range", "private"])
def test_what_is_not_stays_as_it_is(gateway, kind):
    wire = gateway.get(f"/orders/{kind}", "Accept-Encoding: gzip")
    assert wire["content-encoding"] is None
    assert wire.body == KINDS[kind].partition(b"\r\n\r\n")[2]
    assert wire["content-length"] == str(len(wire.body))


def test_never_twice(gateway):
    wire = gateway.get("/orders/encoded", "Accept-Encoding: gzip")
    assert wire["content-encoding"] == "gzip"
    assert gzip.decompress(wire.body) == TEXT


@pytest.mark.parametrize("accepted", ["identity", "gzip;q=0", "br", "*;q=0"])
def test_only_for_clients_that_take_it(gateway, accepted):
    assert gateway.get("/orders/text", f"Accept-Encoding: {accepted}")["content-encoding"] is None


def test_head_has_no_body(gateway):
    status, head, body = fetch(gateway, "text", "--head")
    assert (status.split(" ")[1], body) == ("200", b"")
    assert head["content-length"] == str(len(TEXT))


def test_the_gateways_own_errors_too(tmp_path):
    with running(tmp_path, ("[handler:compress]", "[handler:compress]\nmin_size = 10")) as ours:
        wire = ours.get("/users", "Accept-Encoding: gzip")
        assert (wire.status, wire["content-encoding"]) == (401, "gzip")
        assert json.loads(gzip.decompress(wire.body))["status"] == 401


def test_other_codings_for_clients_that_take_them(tmp_path):
    offered = ("[handler:compress]", "[handler:compress]\ncodings = zstd, br, gzip")
    with running(tmp_path, UNLIMITED, *PUBLIC, offered, scripts=(None, by_name)) as ours:
        for accepted, coding in (("gzip, deflate, br", "br"), ("gzip, deflate, br, zstd", "zstd"), ("gzip", "gzip")):
            wire = ours.get("/orders/tagged", f"Accept-Encoding: {accepted}")
            assert (wire["content-encoding"], wire["etag"], wire["vary"]) == (
                coding,
                f'"v1-{coding}"',
                "Accept-Encoding",
            )
            assert len(wire.body) < len(TEXT) / 10
            assert ours.get("/orders/chunked", f"Accept-Encoding: {accepted}")["content-encoding"] == coding
        assert brotli.decompress(ours.get("/orders/text", "Accept-Encoding: br").body) == TEXT


def test_streamed_each_piece_when_it_comes(tmp_path):
    def script(peer, backend):
        if peer.read_request():
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
            for _ in range(3):
                peer.send(TEXT)
                time.sleep(0.4)

    with running(tmp_path, UNLIMITED, *PUBLIC, scripts=(None, script)) as ours, ours.connect() as wire:
        wire.send("GET /orders HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
        wire.read_until(b"\r\n\r\n")
        started = time.monotonic()
        wire.read_until(b"\r\n")
        assert wire.read_more()
        assert time.monotonic() - started < 0.6
