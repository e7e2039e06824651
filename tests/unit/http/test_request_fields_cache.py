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


def test_a_full_cache_is_cleared(known):
    first = known.fields(block("first"), 1, "192.0.2.1")
    for n in range(256):
        known.fields(block(n), 1, "192.0.2.1")
    assert known.fields(block("first"), 1, "192.0.2.1") is not first
