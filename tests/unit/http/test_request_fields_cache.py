"""The cache of parsed header blocks."""

import pytest

from gproxy.http.request_fields_cache import RequestFieldsCache
from gproxy.http.trust import Trust


@pytest.fixture
def known():
    return RequestFieldsCache(Trust(()), max_fields=100, max_body=0)


def block(value):
    return f"Host: a\r\nX: {value}\r\n\r\n".encode()


def test_a_block_is_parsed_once_for_each_peer_and_version(known):
    found = known.fields(block("y"), 1, "192.0.2.1")
    assert known.fields(block("y"), 1, "192.0.2.1") is found
    assert known.fields(block("y"), 1, "192.0.2.2") is not found
    assert known.fields(block("y"), 0, "192.0.2.1") is not found


def test_a_block_is_found_but_not_kept(known):
    once = known.fields(block("y"), 1, "192.0.2.1", keep=False)
    kept = known.fields(block("y"), 1, "192.0.2.1")
    assert kept is not once
    assert known.fields(block("y"), 1, "192.0.2.1", keep=False) is kept


def test_a_large_block_is_not_cached(known):
    large = block("y" * 1024)
    assert known.fields(large, 1, "192.0.2.1") is not known.fields(large, 1, "192.0.2.1")


@pytest.mark.parametrize(
    ("lines", "minor", "offered"),
    [
        ("Connection: Upgrade\r\nUpgrade: tcp\r\n", 1, ("tcp",)),
        ("Connection: Upgrade\r\nUpgrade: SPDY/3.1, h2c,\t WebSocket\r\n", 1, ("SPDY/3.1", "WebSocket")),
        ("Connection: Upgrade\r\nUpgrade: a b, /1, x/, c/1/2, ok\r\n", 1, ("ok",)),
        ("Connection: Upgrade\r\nUpgrade: H2C, h2, HTTP/2.0\r\n", 1, ()),
        ("Connection: Upgrade\r\nUpgrade: tcp\r\n", 0, ()),
        ("Connection: keep-alive\r\nUpgrade: tcp\r\n", 1, ()),
        ("Upgrade: tcp\r\n", 1, ()),
        ("Connection: Upgrade\r\n", 1, ()),
        ("Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 5\r\n", 1, ("tcp",)),
        (f"Connection: Upgrade\r\nUpgrade: tcp, {'x' * 252}\r\n", 1, ()),
    ],
)
def test_the_protocols_that_a_client_offers(known, lines, minor, offered):
    fields = known.fields(f"Host: a\r\n{lines}\r\n".encode(), minor, "192.0.2.1")
    assert fields.offered == offered
    assert fields.headers.get("upgrade") is None


def test_a_full_cache_is_cleared(known):
    first = known.fields(block("first"), 1, "192.0.2.1")
    for n in range(256):
        known.fields(block(n), 1, "192.0.2.1")
    assert known.fields(block("first"), 1, "192.0.2.1") is not first
