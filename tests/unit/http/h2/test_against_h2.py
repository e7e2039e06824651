"""Our session held against the library h2, on frames that are nearly right; tests/fuzz does it for longer."""

import sys
from pathlib import Path

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.http.h2 import frames

FUZZ = Path(__file__).parents[3] / "fuzz"


@pytest.fixture(scope="module")
def oracle():
    sys.path.insert(0, str(FUZZ))
    try:
        return __import__("h2_oracle")
    finally:
        sys.path.remove(str(FUZZ))


def block(*fields):
    """Return a block that leaves the table as it is."""
    return hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*one) for one in fields], huffman=False)


GET = [(":method", "GET"), (":scheme", "https"), (":authority", "h"), (":path", "/")]
POST = [(":method", "POST"), *GET[1:]]
BLOCKS = st.sampled_from(
    [block(*GET)] * 4
    + [block(*POST)] * 4
    + [
        b"\x82\x87\x84\x41\x01h",
        b"\x82\x87\x84\x41\x01h\x40\x03x-a\x01b",
        b"\x83\x87\x84\x41\x01h\xbe",
        block(*POST, ("content-length", "3")),
        block(*POST, ("content-length", "0")),
        block(*GET, ("cookie", "a=b"), ("cookie", "c=d"), ("x", "y"), ("cookie", "e")),
        block(*GET, ("te", "trailers"), ("priority", "u=1")),
        block(("x-t", "1")),
        block((":status", "200")),
        block((":status", "200"), ("content-length", "3")),
        block((":status", "103")),
        block(*GET, ("connection", "close")),
        block(*GET[1:]),
        b"\xff\xff\xff\xff\xff\xff",
        b"\x20\x82\x87\x84\x41\x01h",
        b"",
    ]
)
IDS = st.sampled_from([1] * 6 + [3] * 4 + [5, 7, 9, 0, 2, 4, 2**31 - 1])
SIZED = st.sampled_from(
    [
        b"",
        b"x",
        b"abc",
        b"abcd",
        b"\0\0\0\0",
        b"\0\0\0\1",
        b"\0\0\0\5",
        b"12345678",
        b"\x80\0\0\1\5",
        b"\2ab\0\0",
        b"\xff",
        b"\0" * 300,
    ]
)
NUMBERS = st.sampled_from([0, 1, 5, 8, 65535, 2**31 - 1, 2**31 - 65536, 2**31, 2**32 - 1])
FLAGS = st.sampled_from([0, 1, 4, 5] * 4 + [8, 9, 12, 13, 32, 36, 37, 45, 255])


def word(number):
    return number.to_bytes(4, "big")


FRAMES = st.one_of(
    st.builds(lambda i, b, f: frames.frame(frames.HEADERS, f | 4, i, b), IDS, BLOCKS, st.sampled_from([0, 1])),
    st.builds(lambda i, b, f: frames.frame(frames.HEADERS, f, i, b), IDS, BLOCKS, FLAGS),
    st.builds(lambda i, b, f: frames.frame(frames.CONTINUATION, f, i, b), IDS, BLOCKS, FLAGS),
    st.builds(lambda i, b, f: frames.frame(frames.DATA, f, i, b), IDS, SIZED, st.sampled_from([0, 1])),
    st.builds(lambda i, b, f: frames.frame(frames.DATA, f, i, b), IDS, SIZED, FLAGS),
    st.builds(lambda i, n: frames.frame(frames.WINDOW_UPDATE, 0, i, word(n)), IDS, NUMBERS),
    st.builds(lambda i, n: frames.frame(frames.RST_STREAM, 0, i, word(n)), IDS, NUMBERS),
    st.builds(lambda k, n: frames.frame(frames.SETTINGS, 0, 0, bytes([0, k]) + word(n)), st.integers(0, 10), NUMBERS),
    st.builds(lambda n, d: frames.frame(frames.GOAWAY, 0, 0, word(n) + word(0) + d), NUMBERS, SIZED),
    st.builds(lambda i, n: frames.frame(frames.PRIORITY, 0, i, word(n) + b"\1"), IDS, NUMBERS),
    st.builds(lambda i: frames.frame(frames.PRIORITY_UPDATE, 0, 0, word(i) + b"u=1"), IDS),
    st.builds(frames.frame, st.integers(0, 20), FLAGS, IDS, SIZED),
    st.just(b"").map(lambda _: frames.ping(b"12345678")),
)
STREAMS = st.lists(FRAMES, min_size=1, max_size=8).map(b"".join)


@settings(max_examples=400)
@given(STREAMS)
def test_h2_reads_frames_alike(oracle, data):
    assert oracle.disagreement(data) == ""


@settings(max_examples=100)
@given(STREAMS, st.integers(0, 2**16), st.integers(0, 255))
def test_h2_reads_damaged_frames_alike(oracle, data, place, byte):
    place %= len(data)
    assert oracle.disagreement(data[:place] + bytes([byte]) + data[place + 1 :]) == ""


@settings(max_examples=200)
@given(st.binary(max_size=100), STREAMS, st.sampled_from([0, 1]))
def test_the_splitting_of_any_bytes_changes_nothing(oracle, noise, data, role):
    assert oracle.changed_by_splitting(data + noise, role) == ""
