"""Frames as bytes: each one is what `hyperframe` makes of it, and what it makes is read back."""

import pytest
from hyperframe import frame as other

from gproxy.http.h2 import frames


def parsed(data):
    """Return all frames in `data`, as hyperframe reads them."""
    found = []
    while data:
        one, length = other.Frame.parse_frame_header(memoryview(data[:9]))
        one.parse_body(memoryview(data[9 : 9 + length]))
        found.append(one)
        data = data[9 + length :]
    return found


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (frames.rst_stream(5, frames.CANCEL), other.RstStreamFrame(5, error_code=8)),
        (frames.rst_stream(2**31 - 1, 2**32 - 1), other.RstStreamFrame(2**31 - 1, error_code=2**32 - 1)),
        (frames.window_update(0, 1), other.WindowUpdateFrame(0, window_increment=1)),
        (frames.window_update(7, 2**31 - 1), other.WindowUpdateFrame(7, window_increment=2**31 - 1)),
        (frames.goaway(2**31 - 1, 0), other.GoAwayFrame(0, last_stream_id=2**31 - 1)),
        (frames.goaway(3, 11, b"why"), other.GoAwayFrame(0, last_stream_id=3, error_code=11, additional_data=b"why")),
        (frames.ping(b"12345678"), other.PingFrame(0, opaque_data=b"12345678")),
        (frames.ping(b"12345678", ack=True), other.PingFrame(0, opaque_data=b"12345678", flags=["ACK"])),
        (frames.settings([(3, 128), (4, 65536)]), other.SettingsFrame(0, settings={3: 128, 4: 65536})),
        (frames.settings([]), other.SettingsFrame(0)),
        (frames.SETTINGS_ACK, other.SettingsFrame(0, flags=["ACK"])),
        (frames.headers_frames(1, b"x", end=True), other.HeadersFrame(1, b"x", flags=["END_HEADERS", "END_STREAM"])),
        (frames.headers_frames(9, b"", end=False), other.HeadersFrame(9, b"", flags=["END_HEADERS"])),
        (frames.frame(frames.DATA, frames.END_STREAM, 3, b"abc"), other.DataFrame(3, b"abc", flags=["END_STREAM"])),
    ],
)
def test_a_frame_is_that_of_hyperframe(ours, theirs):
    assert ours == theirs.serialize()


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 32768, 32769, 100_000])
@pytest.mark.parametrize("end", [True, False])
def test_a_block_of_any_size_is_headers_and_continuations(size, end):
    block = bytes(index % 251 for index in range(size))
    first, *rest = parsed(frames.headers_frames(1, block, end=end))
    assert b"".join(one.data for one in (first, *rest)) == block
    assert [type(one).__name__ for one in rest] == ["ContinuationFrame"] * max(0, -(-size // 16384) - 1)
    assert [("END_HEADERS" in one.flags) for one in (first, *rest)] == [False] * len(rest) + [True]
    assert ("END_STREAM" in first.flags) is end
    assert max(len(one.data) for one in (first, *rest)) <= frames.MAX_FRAME


@pytest.mark.parametrize("length", [0, 255, 65535, 65536, 2**24 - 1])
def test_a_head_has_a_length_of_three_bytes(length):
    head = frames.frame_head(length, frames.DATA, 0, 1)
    assert (len(head), int.from_bytes(head[:3], "big")) == (frames.HEAD, length)


def test_a_data_piece_fills_one_tls_record():
    assert frames.HEAD + frames.DATA_PIECE == 16384


def test_numbers_are_those_of_the_registry():
    kinds = {one.type: name for one, name in ((kind, kind.__name__) for kind in other.FRAMES.values())}
    names = {kind: kinds[kind].removesuffix("Frame").upper() for kind in range(10)}
    assert {kind: name.replace("_", "") for kind, name in frames.FRAME_NAMES.items() if kind < 10} == names
    assert frames.PRIORITY_UPDATE == 0x10


def test_an_error_code_has_its_name_or_its_number():
    assert (frames.error_name(11), frames.error_name(0xFACE)) == ("ENHANCE_YOUR_CALM", "0xface")
    assert sorted(frames.ERROR_NAMES) == list(range(14))


@pytest.mark.parametrize(
    ("payload", "padding"),
    [
        (b"", -1),
        (b"\0", 0),
        (b"\0abc", 0),
        (b"\1a", 1),
        (b"\3abc", 3),
        (b"\3ab", -1),
        (b"\xff" + b"x" * 254, -1),
        (b"\xff" * 256, 255),
    ],
)
def test_padding_is_shorter_than_its_frame(payload, padding):
    assert frames.padding_of(payload) == padding


def test_a_word_has_four_bytes():
    assert frames.word(b"\xff\xff\xff\xff") == 2**32 - 1
    assert frames.word(b"ab\0\0\1\2cd", 2) == 0x102
