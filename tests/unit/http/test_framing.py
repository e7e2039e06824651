import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.http.errors import BadMessage, Incomplete
from gproxy.http.framing import (
    CHUNKED,
    LAST_CHUNK,
    MAX_CHUNK_LINE,
    MAX_TRAILERS,
    UNTIL_CLOSE,
    ChunkedReader,
    chunk,
    reader,
    request_framing,
    response_framing,
)
from gproxy.http.headers import Headers


class Pieces:
    """A source that gives its pieces one after the other, then the peer's end."""

    def __init__(self, *pieces):
        self.pieces = [piece for piece in pieces if piece]

    def read(self, limit):
        if not self.pieces:
            return b""
        first = self.pieces.pop(0)
        if len(first) > limit:
            self.give_back(first[limit:])
        return first[:limit]

    def give_back(self, data):
        self.pieces.insert(0, data)

    @property
    def rest(self):
        return b"".join(self.pieces)


def read(framing, *pieces):
    """Body, trailers, and what was left over."""
    source = Pieces(*pieces)
    body = reader(framing, source)
    data = b"".join(iter(body.next_piece, b""))
    assert body.done
    assert body.next_piece() == b""
    return data, body.trailers, source.rest


def outcome(*pieces):
    try:
        return read(CHUNKED, *pieces)
    except BadMessage as error:
        return type(error)


@pytest.mark.parametrize(
    ("fields", "minor", "framing"),
    [
        ({}, 1, 0),
        ({"Content-Length": "0"}, 1, 0),
        ({"Content-Length": "5"}, 0, 5),
        ({"content-length": "0005"}, 1, 5),
        ({"Content-Length": "9" * 18}, 1, 10**18 - 1),
        ({"Transfer-Encoding": "Chunked"}, 1, CHUNKED),
    ],
)
def test_request_framing(fields, minor, framing):
    assert request_framing(Headers(fields), minor) == framing


@pytest.mark.parametrize(
    "length", ["", "+5", "-5", "5,5", "5, 5", "0x5", "5 5", "5.0", "5_0", "\u0665", "\u00b2", "a", "9" * 19]
)
def test_lengths_that_are_rejected(length):
    fields = Headers()
    fields.put("Content-Length", "content-length", length)
    with pytest.raises(BadMessage):
        request_framing(fields, 1)
    with pytest.raises(BadMessage):
        response_framing(fields, 1, 200, "GET")


@pytest.mark.parametrize(
    "fields",
    [
        [("Content-Length", "5"), ("content-length", "5")],
        [("Transfer-Encoding", "chunked"), ("Content-Length", "0")],
        [("Transfer-Encoding", "chunked"), ("transfer-encoding", "chunked")],
        [("Transfer-Encoding", "gzip, chunked")],
        [("Transfer-Encoding", "identity")],
        [("Transfer-Encoding", "")],
    ],
)
def test_ambiguous_framing_is_rejected_on_both_sides(fields):
    with pytest.raises(BadMessage):
        request_framing(Headers(fields), 1)
    with pytest.raises(BadMessage):
        response_framing(Headers(fields), 1, 200, "GET")


def test_chunks_need_http_1_1():
    fields = Headers({"Transfer-Encoding": "chunked"})
    with pytest.raises(BadMessage):
        request_framing(fields, 0)
    with pytest.raises(BadMessage):
        response_framing(fields, 0, 200, "GET")


@pytest.mark.parametrize(("status", "method"), [(200, "HEAD"), (204, "GET"), (304, "GET"), (103, "GET"), (204, "POST")])
@pytest.mark.parametrize("fields", [{}, {"Content-Length": "5"}, {"Transfer-Encoding": "chunked"}])
def test_responses_without_a_body(status, method, fields):
    assert response_framing(Headers(fields), 1, status, method) == 0


def test_response_framing():
    assert response_framing(Headers(), 1, 200, "GET") == UNTIL_CLOSE
    assert response_framing(Headers({"Content-Length": "7"}), 0, 200, "GET") == 7
    assert response_framing(Headers({"Transfer-Encoding": "chunked"}), 1, 500, "GET") == CHUNKED


def test_a_length_takes_no_more_and_no_less():
    assert read(5, b"he", b"lloGET /") == (b"hello", [], b"GET /")
    with pytest.raises(Incomplete):
        read(5, b"hell")
    assert read(0, b"GET /") == (b"", [], b"GET /")


def test_until_close():
    assert read(UNTIL_CLOSE, b"a", b"b") == (b"ab", [], b"")


WHOLE = b'5;a="b"\r\nhello\r\n00b \t;c\r\n world\r\n0\r\n\r\n0\r\nX-T: a \r\nx-u:\xff\r\n\r\nGET / HTTP/1.1\r\n'


def test_chunks_whole_byte_by_byte_and_cut_anywhere():
    expected = (b"hello world\r\n0\r\n", [("X-T", "a"), ("x-u", "ÿ")], b"GET / HTTP/1.1\r\n")
    assert read(CHUNKED, WHOLE) == expected
    assert read(CHUNKED, *[WHOLE[i : i + 1] for i in range(len(WHOLE))]) == expected
    for cut in range(len(WHOLE)):
        assert read(CHUNKED, WHOLE[:cut], WHOLE[cut:]) == expected


BITS = st.sampled_from(
    [b"5\r\nhello\r\n", b"0\r\n", b"\r\n", b"\r", b"\n", b"A\r\n0123456789\r\n", b"1;x\r\na\r\n", b"X-T: a\r\n", b"X", b"0", b" ", b";", b"\0", b"2\r\n\r\n\r\n", b"f" * 15]
)  # fmt: skip


@given(st.lists(BITS, max_size=8).map(b"".join), st.data())
def test_any_cut_is_read_like_the_whole(data, draw):
    """Good or bad: what is read, what is refused and what is left over hang on the bytes only."""
    cuts = sorted(draw.draw(st.sets(st.integers(0, len(data)), max_size=8)))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert outcome(*pieces) == outcome(data) == outcome(*[data[i : i + 1] for i in range(len(data))])


@given(st.lists(st.binary(min_size=1, max_size=50)), st.binary(max_size=10))
def test_what_chunk_writes_is_read_back(pieces, behind):
    data = b"".join(map(chunk, pieces)) + LAST_CHUNK + behind
    assert read(CHUNKED, data) == (b"".join(pieces), [], behind)


@pytest.mark.parametrize("cut", [1, 100, 10**9])
def test_limits_hold_however_it_comes(cut):
    def cuts(data):
        return [data[i : i + cut] for i in range(0, len(data), cut)]

    extension = b"1;" + b"a" * (MAX_CHUNK_LINE - 4) + b"\r\n"
    assert len(extension) == MAX_CHUNK_LINE
    assert outcome(*cuts(extension + b"x\r\n0\r\n\r\n")) == (b"x", [], b"")
    assert outcome(*cuts(extension.replace(b";", b";a") + b"x\r\n0\r\n\r\n")) is BadMessage
    trailer = b"A: " + b"a" * (MAX_TRAILERS - 7) + b"\r\n\r\n"
    assert len(trailer) == MAX_TRAILERS
    assert outcome(*cuts(b"0\r\n" + trailer))[0] == b""
    assert outcome(*cuts(b"0\r\nA" + trailer)) is BadMessage


@pytest.mark.parametrize(
    "data", [b"", b"5", b"5\r\nhel", b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n", b"0\r\nX-T: a\r\n", b"0\r\n\r"]
)
def test_an_early_end(data):
    assert outcome(data) is Incomplete


@pytest.mark.parametrize(
    "data", [b"x", b"-", b"0x5", b"5 \r\n", b"\n", b"5\n", b"5;\0", b"5;a\n", b"5\r\nhelloX", b"4000000000000000\r\n"]
)
def test_a_malformed_chunk_is_rejected_at_the_first_wrong_byte(data):
    body = ChunkedReader(Pieces())
    with pytest.raises(BadMessage):
        body.feed(data)


def test_the_inside_of_a_large_chunk_is_not_copied():
    body = ChunkedReader(Pieces())
    assert body.feed(b"fffff\r\n") == b""
    data = b"a" * 1000
    assert body.feed(data) is data
