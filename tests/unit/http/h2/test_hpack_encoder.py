"""The encoder: what it sends plain, what enters the table, what never does; the package `hpack` decodes it."""

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.http.field_names import FieldNames
from gproxy.http.h2.hpack_decoder import HPACKDecoder
from gproxy.http.h2.hpack_encoder import HPACKEncoder
from gproxy.http.h2.never_indexed import NeverIndexed
from gproxy.http.headers import Headers

NAMES = FieldNames(lambda key, plain: 0)


class Peer:
    """The other side: the decoder of `hpack`, and our own one."""

    def __init__(self):
        self.oracle = hpack.Decoder(max_header_list_size=1 << 24)
        self.own = HPACKDecoder(NAMES, 1 << 24, 10_000)

    def read(self, block):
        found = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in self.oracle.decode(block, raw=True)]
        assert [(field.name, field.value) for field in self.own.decode(block).fields] == found
        return found

    @property
    def table(self):
        entries = self.oracle.header_table.dynamic_entries
        return [(bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in entries]


def sent(encoder, *fields, times=1):
    """Return the last of some equal blocks of trailers."""
    return [encoder.encode_trailers(fields) for _ in range(times)][-1]


def test_a_field_is_plain_then_enters_the_table_then_is_an_index():
    encoder, peer = HPACKEncoder(), Peer()
    blocks = [encoder.encode_response(200, Headers([("Server", "ours")])) for _ in range(4)]
    for block in blocks:
        assert peer.read(block) == [(":status", "200"), ("server", "ours")]
    assert blocks[0] == b"\x88\x0f\x27\x04ours"
    assert blocks[1][1] == 0x40 | 54
    assert blocks[2] == blocks[3] == b"\x88\xbe"
    assert peer.table == [("server", "ours")]


def test_static_fields_are_indexes_at_once():
    assert HPACKEncoder().encode_response(404, Headers([("Accept-Encoding", "gzip, deflate")])) == b"\x8d\x90"
    assert HPACKEncoder().encode_request("GET", "https", "", "/", Headers()) == b"\x82\x87\x81\x84"


def test_another_status_is_a_field_like_others():
    encoder, peer = HPACKEncoder(), Peer()
    for _ in range(3):
        block = encoder.encode_response(201, Headers())
        assert peer.read(block) == [(":status", "201")]
    assert block == b"\xbe"


def test_a_request():
    encoder, peer = HPACKEncoder(), Peer()
    headers = Headers([("Host", "other.example"), ("Accept", "*/*"), ("X-A", "1"), ("x-a", "2")])
    for _ in range(3):
        block = encoder.encode_request("PUT", "http", "a.example", "/b?c=d", headers)
        assert peer.read(block) == [
            (":method", "PUT"), (":scheme", "http"), (":authority", "a.example"), (":path", "/b?c=d"),
            ("accept", "*/*"), ("x-a", "1"), ("x-a", "2"),
        ]  # fmt: skip
    assert len(block) == 7


def test_an_extended_connect():
    block = HPACKEncoder().encode_request("CONNECT", "https", "a.example", "/chat", Headers(), "websocket")
    assert Peer().read(block) == [
        (":method", "CONNECT"), (":scheme", "https"), (":authority", "a.example"), (":path", "/chat"),
        (":protocol", "websocket"),
    ]  # fmt: skip


def test_a_value_like_a_line():
    encoder, peer = HPACKEncoder(), Peer()
    for _ in range(3):
        assert peer.read(sent(encoder, ("a", "b: c"), ("x", ": "))) == [("a", "b: c"), ("x", ": ")]
        assert peer.read(encoder.encode_request("GET", "https", "a", "/: b", Headers()))[3] == (":path", "/: b")


def test_names_are_sent_in_lower_case():
    assert Peer().read(sent(HPACKEncoder(), ("Grpc-Status", "0"))) == [("grpc-status", "0")]


@pytest.mark.parametrize("name", ["x-request-id", "content-length", "etag", "location", "age"])
def test_values_that_seldom_come_again_stay_plain(name):
    encoder, peer = HPACKEncoder(), Peer()
    for _ in range(4):
        block = encoder.encode_response(200, Headers([(name.title(), "12")]))
        assert peer.read(block) == [(":status", "200"), (name, "12")]
    assert block[1] & 0xF0 == 0
    assert peer.table == []


def test_cookies_of_responses_are_never_indexed():
    encoder, peer = HPACKEncoder(), Peer()
    for _ in range(4):
        block = encoder.encode_response(200, Headers([("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]))
        assert peer.read(block)[1:] == [("set-cookie", "a=1"), ("set-cookie", "b=2")]
    assert block == b"\x88" + b"\x1f\x28\x03a=1" + b"\x1f\x28\x03b=2"


def test_secrets_to_backends_are_never_indexed():
    encoder, peer = HPACKEncoder(frozenset({"authorization", "cookie", "x-user"})), Peer()
    headers = Headers(
        [("Authorization", "Bearer a"), ("Cookie", ""), ("X-User", "ann"), ("set-cookie", "a=1"), ("x-a", "1")]
    )
    for _ in range(4):
        peer.read(encoder.encode_request("GET", "http", "a", "/", headers))
    assert sorted(peer.table) == [(":authority", "a"), ("x-a", "1")]
    fields = hpack.Decoder().decode(sent(encoder, ("authorization", "Bearer a"), ("cookie", ""), ("x-user", "ann")))
    assert not any(field.indexable for field in fields)


def test_without_the_argument_only_what_is_always_secret_is_never_indexed():
    encoder, peer = HPACKEncoder(), Peer()
    for _ in range(3):
        peer.read(sent(encoder, ("cookie", "a=1"), ("x-user", "ann")))
    assert peer.table == [("x-user", "ann")]


def never_indexed(block):
    """The names that the decoder of `hpack` sees as never indexed, and our own one notes."""
    seen = {field[0] for field in hpack.Decoder().decode(block) if not field.indexable}
    assert HPACKDecoder(NAMES, 1 << 20, 1000).decode(block).never_indexed == seen
    return seen


def test_fields_that_came_as_never_indexed_leave_so():
    """Also if the table has them, or the static one, or they are pseudo-fields; the others are sent as always."""
    encoder, peer = HPACKEncoder(), Peer()
    headers = Headers([("X-Key", "a"), ("x-key", "b"), ("X-Other", "1"), ("Accept-Encoding", "gzip, deflate")])
    for _ in range(3):
        indexed = encoder.encode_request("GET", "http", "a", "/", headers)
        peer.read(indexed)
    headers.never_index(["x-key", "accept-encoding", ":path"])
    block = encoder.encode_request("GET", "http", "a", "/", headers.copy())
    assert [name for name, _ in peer.read(block)] == [
        ":method", ":scheme", ":authority", ":path", "x-key", "x-key", "x-other", "accept-encoding",
    ]  # fmt: skip
    first = HPACKEncoder()
    assert never_indexed(first.encode_request("GET", "http", "a", "/", headers)) == {
        "x-key",
        "accept-encoding",
        ":path",
    }
    assert never_indexed(first.encode_response(200, headers)) == {"x-key", "accept-encoding"}
    headers.never_index([])
    assert encoder.encode_request("GET", "http", "a", "/", headers) == indexed


def test_a_trailer_that_came_as_never_indexed_leaves_so():
    assert never_indexed(sent(HPACKEncoder(), (NeverIndexed("X-Sum"), "1"), ("x-a", "1"))) == {"x-sum"}


def test_never_indexed_fields_follow_the_updates_of_the_table():
    encoder, peer = HPACKEncoder(), Peer()
    headers = Headers([("x-key", "a")])
    headers.never_index([":status", "x-key"])
    encoder.resize(0)
    peer.oracle.max_allowed_table_size = 0
    block = encoder.encode_response(200, headers)
    assert block[0] == 0x20
    assert peer.read(block) == [(":status", "200"), ("x-key", "a")]


def test_after_a_never_indexed_value_that_fails_both_tables_are_the_same():
    encoder, decoder = HPACKEncoder(), hpack.Decoder()
    with pytest.raises(UnicodeEncodeError):
        encoder.encode_trailers([("seen", "1"), ("seen", "1"), (NeverIndexed("x"), "\u20ac")])
    for _ in range(3):
        assert decoder.decode(encoder.encode_trailers([("seen", "1")])) == [("seen", "1")]


def test_values_that_occur_once_displace_nothing():
    encoder, peer = HPACKEncoder(), Peer()
    for number in range(200):
        peer.read(sent(encoder, ("server", "ours"), ("x-a", str(number))))
    assert peer.table == [("server", "ours")]


def test_a_line_is_remembered_among_64():
    encoder, peer = HPACKEncoder(), Peer()
    for round_ in (1, 2):
        peer.read(sent(encoder, *((f"a{number}", "1") for number in range(64))))
        assert len(peer.table) == (64 if round_ == 2 else 0)
    encoder, peer = HPACKEncoder(), Peer()
    for _ in (1, 2):
        peer.read(sent(encoder, *((f"a{number}", "1") for number in range(65))))
    assert peer.table == []
    assert len(encoder._seen) == 64


def test_the_oldest_entries_are_evicted():
    encoder, peer = HPACKEncoder(), Peer()
    fields = [("x-a", f"{number:02}" * 500) for number in range(6)]
    for _ in range(3):
        for field in fields:
            assert peer.read(sent(encoder, field, times=1)) == [field]
    assert len(peer.table) == 3


def test_a_line_that_would_displace_nearly_all_others_stays_plain():
    encoder, peer = HPACKEncoder(), Peer()
    large, fitting = ("a", "x" * (3072 - 32)), ("a", "x" * (3072 - 33))
    for _ in range(3):
        peer.read(sent(encoder, large))
    assert peer.table == []
    for _ in range(3):
        peer.read(sent(encoder, fitting))
    assert peer.table == [fitting]


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 126, 127, 128, 254, 255, 256, 300, 20000])
def test_values_of_each_length(size):
    encoder, peer = HPACKEncoder(), Peer()
    for _ in range(3):
        fields = [("a", "x" * size), ("b" * (size or 1), "\xe9")]
        assert peer.read(sent(encoder, *fields)) == fields


def test_short_values_are_coded_when_they_enter():
    encoder = HPACKEncoder()
    plain, coded, _ = (sent(encoder, ("server", "aaaaaaaaaaaaaaaa")) for _ in range(3))
    assert (len(plain), len(coded)) == (3 + 16, 2 + 10)


class TestResize:
    def test_a_smaller_table_is_announced_in_the_next_block(self):
        encoder, peer = HPACKEncoder(), Peer()
        for _ in range(2):
            peer.read(sent(encoder, ("a", "1"), ("b", "2")))
        encoder.resize(40)
        peer.oracle.max_allowed_table_size = 40
        block = sent(encoder, ("a", "1"), ("b", "2"))
        assert block[:2] == b"\x3f\x09"
        assert block[-1] == 0xBE
        assert peer.read(block) == [("a", "1"), ("b", "2")]
        assert peer.table == [("b", "2")]
        assert b"\x3f\x09" not in sent(encoder, ("b", "2"))

    def test_down_and_up_again_announces_both(self):
        encoder, peer = HPACKEncoder(), Peer()
        for _ in range(2):
            peer.read(sent(encoder, ("a", "1")))
        for size in (100, 0, 50, 4096):
            encoder.resize(size)
        block = sent(encoder, ("a", "1"))
        assert block.startswith(b"\x20\x3f\xe1\x1f")
        assert peer.read(block) == [("a", "1")]
        assert peer.table == []

    def test_down_twice_announces_the_last(self):
        encoder = HPACKEncoder()
        encoder.resize(100)
        encoder.resize(30)
        assert sent(encoder, (":status", "200")) == b"\x3e\x88"

    @pytest.mark.parametrize("size", [4096, 65536, 1 << 31])
    def test_a_larger_table_is_not_used(self, size):
        encoder = HPACKEncoder()
        encoder.resize(size)
        assert sent(encoder, (":status", "200")) == b"\x88"

    def test_without_a_table(self):
        encoder, peer = HPACKEncoder(), Peer()
        encoder.resize(0)
        peer.oracle.max_allowed_table_size = 0
        for _ in range(4):
            assert peer.read(sent(encoder, ("a", "1"), (":status", "200"))) == [("a", "1"), (":status", "200")]
        assert peer.table == []


@pytest.mark.parametrize("size", [4096, 0])
def test_after_a_block_that_fails_both_tables_are_the_same(size):
    encoder, decoder = HPACKEncoder(), hpack.Decoder()
    encoder.resize(size)
    for _ in range(3):
        decoder.decode(encoder.encode_trailers([("kept", "1")]))
    with pytest.raises(UnicodeEncodeError):
        encoder.encode_trailers([("seen", "1"), ("seen", "1"), ("x", "\u20ac")])
    for _ in range(3):
        pairs = [("seen", "1"), ("kept", "1")]
        assert decoder.decode(encoder.encode_trailers(pairs)) == pairs


def test_spellings_of_a_static_field_fill_no_memory():
    encoder = HPACKEncoder()
    for number in range(3000):
        name = "".join(c.upper() if number >> at & 1 else c for at, c in enumerate("accept-encoding"))
        assert sent(encoder, (name, "gzip, deflate")) == b"\x90"
    assert len(encoder._numbers) <= 256


def test_names_of_any_number_fill_no_memory():
    from gproxy.http.h2 import hpack_encoder

    encoder = HPACKEncoder()
    for number in range(3000):
        sent(encoder, (f"x-{number}", "1"), ("y" * 65, str(number)))
    assert len(hpack_encoder._names) <= 1024
    assert "y" * 65 not in hpack_encoder._names


NAME = st.sampled_from(
    ["Server", "server", "date", "x-a", "Set-Cookie", "etag", "accept-encoding", "Cookie", "content-type"]
)
VALUE = st.sampled_from(["", "1", "gzip, deflate", "\xe9\xff", "x" * 200, "y" * 1500]) | st.integers(0, 9).map(str)
STEP = st.tuples(
    st.lists(st.tuples(NAME, VALUE), max_size=8),
    st.sampled_from([200, 201, 404]),
    st.sampled_from([None] * 8 + [0, 50, 300, 2000, 4096, 9000]),
)


@given(st.lists(STEP, max_size=20))
def test_random_responses_agree_with_hpack(steps):
    """The decoder of `hpack` raises an error if its table shrank and the next block does not begin with the update."""
    encoder, peer = HPACKEncoder(frozenset({"cookie"})), Peer()
    for fields, status, size in steps:
        if size is not None:
            encoder.resize(size)
            peer.oracle.max_allowed_table_size = size
        headers = Headers(fields)
        expected = [(":status", str(status)), *((name.lower(), value) for name, value in headers.items())]
        assert peer.read(encoder.encode_response(status, headers)) == expected
        assert sum(len(name) + len(value) + 32 for name, value in peer.table) <= 4096
        assert len(peer.table) == len(encoder._lines)
