"""What a response head means to the connection, and what handlers see of it."""

import math

import pytest

from gproxy.http.errors import BadMessage
from gproxy.upstream.http1.response_head import parse_response_head


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ("", math.inf),
        ("Keep-Alive: timeout=5\r\n", 3.0),
        ("keep-alive: max=100, Timeout=15\r\n", 13.0),
        ('Keep-Alive: timeout = "60"\r\n', 58.0),
        ("Keep-Alive: timeout=1\r\n", 0.5),
        ("Keep-Alive: timeout=-1\r\n", math.inf),
        ("Keep-Alive: max=100\r\n", math.inf),
        ("Keep-Alive: x-timeout=9\r\n", math.inf),
    ],
)
def test_what_a_backend_announces(fields, seconds):
    answer = parse_response_head(f"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{fields}\r\n".encode(), "GET")
    assert answer.idle_timeout == seconds
    assert answer.headers.get("keep-alive") is None


def parse(*lines, method="GET"):
    return parse_response_head("\r\n".join([*lines, "", ""]).encode(), method)


@pytest.mark.parametrize(
    ("protocol", "connection", "keep"),
    [
        ("HTTP/1.1", None, True), ("HTTP/1.1", "close", False), ("HTTP/1.1", "x, Close", False),
        ("HTTP/1.0", None, False), ("HTTP/1.0", "keep-alive", True),
    ],
)  # fmt: skip
def test_whether_the_connection_persists(protocol, connection, keep):
    fields = [f"Connection: {connection}"] if connection else []
    assert parse(f"{protocol} 200 OK", "Content-Length: 0", *fields).keep is keep


def test_handlers_see_no_hop_by_hop_field():
    head = parse("HTTP/1.1 200 OK", "Content-Length: 3", "Connection: X-Own", "X-Own: 1", "TE: trailers", "X-Kept: 2")
    assert head.headers.get("x-own") is None
    assert head.headers.get("connection") is None
    assert head.headers.get("x-kept") == "2"
    assert head.headers.is_stripped


def test_status_phrase_and_framing():
    head = parse("HTTP/1.1 404 Not Here", "Content-Length: 3")
    assert (head.status, head.phrase, head.framing, head.upgrade) == (404, "Not Here", 3, "")
    assert parse("HTTP/1.1 200 OK", "Content-Length: 3", method="HEAD").framing == 0


def test_the_protocol_of_an_upgrade_is_in_lower_case():
    head = parse("HTTP/1.1 101 Switching", "Upgrade: WebSocket", "Connection: upgrade")
    assert head.upgrade == "websocket"
    assert head.headers.get("upgrade") is None


def test_a_426_keeps_its_upgrade_field():
    head = parse("HTTP/1.1 426 Upgrade Required", "Upgrade: h2c", "Content-Length: 0", "Connection: upgrade")
    assert head.headers.get("upgrade") == "h2c"


@pytest.mark.parametrize(
    "lines", [("HTTP/1.1 2000 OK",), ("HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 2")]
)
def test_a_malformed_or_ambiguous_head_is_rejected(lines):
    with pytest.raises(BadMessage):
        parse(*lines)
