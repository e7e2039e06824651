"""The input of an app: it reads as a file does, whatever the pieces are."""

import io

import pytest

from gproxy.apps.input import AppInput

TEXT = b"one\ntwo\n\nthree"


def opened(size):
    source = io.BytesIO(TEXT)
    return AppInput(lambda: source.read(size))


@pytest.fixture(params=[1, 2, 3, 100])
def stream(request):
    return opened(request.param)


def test_read_all(stream):
    assert (stream.read(), stream.read(), stream.read(5)) == (TEXT, b"", b"")


@pytest.mark.parametrize("size", [1, 3, 4, 5, 99])
def test_read_sizes_as_a_file(stream, size):
    like = io.BytesIO(TEXT)
    for _ in range(len(TEXT) + 1):
        assert stream.read(size) == like.read(size)
    assert stream.read(0) == b""


@pytest.mark.parametrize("size", [-1, None, 0, 1, 3, 4, 99])
def test_read_lines_as_a_file(stream, size):
    like = io.BytesIO(TEXT)
    for _ in range(len(TEXT) + 1):
        assert stream.readline(size) == like.readline(size)


def test_iterate_as_a_file(stream):
    assert list(stream) == list(io.BytesIO(TEXT))


def test_readlines_as_a_file(stream):
    assert stream.readlines(5) == [b"one\n", b"two\n"]
    assert stream.readlines() == [b"\n", b"three"]


def test_mixed_reads(stream):
    like = io.BytesIO(TEXT)
    assert [stream.read(2), stream.readline(), stream.read(1), stream.read()] == [
        like.read(2), like.readline(), like.read(1), like.read(),
    ]  # fmt: skip


def test_read1_does_not_wait_for_more():
    stream = opened(4)
    assert [stream.read1(), stream.read1(2), stream.read1(99)] == [b"one\n", b"tw", b"o\n"]


class Counted(bytes):
    """Bytes that count what is copied of them."""

    copied = 0

    def __getitem__(self, key):
        part = super().__getitem__(key)
        Counted.copied += len(part) if isinstance(key, slice) else 0
        return part


@pytest.mark.parametrize(("read", "size"), [("readline", None), ("readline", 2), ("read", 2), ("read1", 2)])
def test_each_byte_of_a_large_piece_is_copied_once(read, size):
    Counted.copied = 0
    pieces = [Counted(b"x\n" * 5000), b""]
    stream = AppInput(lambda: pieces.pop(0))
    parts = list(iter(lambda: getattr(stream, read)(size), b""))
    assert (len(parts), Counted.copied) == (5000, 10_000)
