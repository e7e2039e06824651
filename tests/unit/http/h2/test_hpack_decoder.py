"""The decoder: fields and tables against the package `hpack`, errors of section 5 row 8, bounds of row 7."""

import tracemalloc

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.http.field_names import HOP_BY_HOP, FieldNames
from gproxy.http.h2.hpack_decoder import HPACKDecoder, HPACKError

NAMES = FieldNames(lambda key, plain: HOP_BY_HOP if key == "connection" else 0)


def decoder(max_size=32768, max_fields=100, table_size=4096):
    return HPACKDecoder(NAMES, max_size, max_fields, table_size)


def integer(first, mask, value):
    if value < mask:
        return bytes([first | value])
    out = [first | mask]
    value -= mask
    while value >= 128:
        out.append(value % 128 | 128)
        value //= 128
    return bytes([*out, value])


def string(text):
    raw = text.encode("latin-1") if isinstance(text, str) else text
    return integer(0, 127, len(raw)) + raw


def literal(name, value, first=0x40):
    return bytes([first]) + string(name) + string(value)


def resized(size):
    return integer(0x20, 0x1F, size)


def pairs(block):
    return [(field.name, field.value) for field in block.fields]


NEWEST = b"\xbe"  # index 62


class TestFields:
    def test_the_forms_of_section_6(self):
        block = b"\x82" + b"\x44" + string("/a") + literal("x-a", "1") + b"\x04" + string("/b") + b"\x14" + string("/c")
        assert pairs(decoder().decode(block)) == [
            (":method", "GET"), (":path", "/a"), ("x-a", "1"), (":path", "/b"), (":path", "/c"),
        ]  # fmt: skip

    def test_only_incremental_fields_enter_the_table(self):
        table = decoder()
        table.decode(literal("a", "1") + literal("b", "2", 0x00) + literal("c", "3", 0x10))
        assert pairs(table.decode(NEWEST)) == [("a", "1")]
        with pytest.raises(HPACKError, match="index 63 is beyond the table, which ends at 62"):
            table.decode(b"\xbf")

    def test_a_name_of_the_dynamic_table(self):
        table = decoder()
        table.decode(literal("x-name", "1"))
        assert pairs(table.decode(b"\x7e" + string("2") + NEWEST)) == [("x-name", "2"), ("x-name", "2")]

    def test_an_empty_block(self):
        block = decoder().decode(b"")
        assert (block.fields, block.size, block.is_too_large) == ([], 0, False)

    def test_all_messages_share_the_field_of_the_table(self):
        table = decoder()
        first = table.decode(literal("a", "1")).fields[0]
        assert table.decode(b"\x82" + NEWEST).fields[1] is first

    def test_static_fields_are_shared_by_all_decoders_of_a_table_of_names(self):
        assert decoder().decode(b"\x82").fields[0] is decoder().decode(b"\x82").fields[0]

    def test_tables_of_names_are_kept_up_to_a_number(self):
        from gproxy.http.h2 import hpack_decoder

        for _ in range(40):
            HPACKDecoder(FieldNames(lambda key, plain: 0), 100, 100)
        assert len(hpack_decoder._static_fields) <= 16

    def test_a_field_has_its_line_its_uses_and_its_size(self):
        field, other = decoder().decode(literal("connection", "close") + literal("a", "")).fields
        assert (field.line, field.uses, field.size, field.is_bad) == ("connection: close", HOP_BY_HOP, 47, False)
        assert (other.line, other.uses, other.size, other.is_bad) == ("a: ", 0, 33, False)

    def test_the_size_of_a_block(self):
        assert decoder().decode(b"\x82" + literal("a", "bc")).size == 42 + 35


class TestRule4:
    """Names are tokens in lower case; values have no blank at either end, and no control character."""

    @pytest.mark.parametrize("name", ["a", "x-a", "!#$%&'*+-.^_`|~09az", "x_a"])
    def test_good_names(self, name):
        field = decoder().decode(literal(name, "1")).fields[0]
        assert (field.is_bad, field.line) == (False, f"{name}: 1")

    @pytest.mark.parametrize("name", ["", "A", "x-A", "a b", "a:", "a\r\nb", "a\0", "\xe9", " a", "a ", "a" * 80 + "A"])
    def test_bad_names(self, name):
        for _ in range(2):
            field = decoder().decode(literal(name, "1")).fields[0]
            assert (field.is_bad, field.line, field.name) == (True, "", name)

    @pytest.mark.parametrize("value", ["", "a", "a b", "a\tb", "\xe9", "\x80", "a\xff b", "~", "!", "a \t b", ":"])
    def test_good_values(self, value):
        field = decoder().decode(literal("a", value)).fields[0]
        assert (field.is_bad, field.line) == (False, f"a: {value}")

    @pytest.mark.parametrize(
        "value",
        [
            " ",
            "\t",
            " a",
            "a ",
            "\ta",
            "a\t",
            "\xe9 ",
            " \xe9",
            "a\r\nb: c",
            "a\rb",
            "a\nb",
            "\0",
            "a\0",
            "\x7f",
            "\x1f",
            "a\x0b",
        ],
    )
    def test_bad_values(self, value):
        for name in ("a", ":path"):
            field = decoder().decode(literal(name, value)).fields[0]
            assert (field.is_bad, field.line, field.value) == (True, "", value)

    @pytest.mark.parametrize("byte", range(256))
    def test_each_byte_in_a_value(self, byte):
        field = decoder().decode(literal("a", bytes([65, byte, 65]))).fields[0]
        assert field.is_bad == ((byte < 32 and byte != 9) or byte == 127)

    def test_pseudo_fields_have_no_line_and_are_not_bad(self):
        for field in decoder().decode(b"\x82\x84" + literal(":protocol", "websocket")).fields:
            assert (field.is_bad, field.line, field.uses) == (False, "", 0)

    @pytest.mark.parametrize("name", [":", "::", ":a b", ":A", ":path\r\n", ":path:"])
    def test_bad_pseudo_names(self, name):
        assert decoder().decode(literal(name, "1")).fields[0].is_bad

    def test_a_bad_field_stays_in_the_table(self):
        table = decoder()
        table.decode(literal("a", "b\r\nc"))
        assert table.decode(NEWEST).fields[0].is_bad
        assert pairs(table.decode(b"\x7e" + string("good"))) == [("a", "good")]
        assert not table.decode(NEWEST).fields[0].is_bad


class TestErrors:
    """Section 5 row 8: each ends the connection with COMPRESSION_ERROR."""

    @pytest.mark.parametrize(
        ("block", "message"),
        [
            (b"\x80", "index 0 is beyond"),
            (b"\xbe", "index 62 is beyond the table, which ends at 61"),
            (b"\xff\x80\x01", "index 255 is beyond"),
            (b"\x7e\x01a", "index 62 is beyond"),
            (b"\x0f\x2f\x01a", "index 62 is beyond"),
            (b"\xff", "an integer is cut off"),
            (b"\xff\x80", "an integer is cut off"),
            (b"\xff\x80\x80\x80\x80\x00", "longer than 5 bytes"),
            (b"\xff\x80\x80\x80\x80\x80\x80\x80\x80\x01", "longer than 5 bytes"),
            (b"\xff\xff\xff\xff\x7f", "above 268435456"),
            (b"\xff\x81\x80\x80\x80\x10", "longer than 5 bytes"),
            (b"\x00\x7f\xff\xff\xff\x7f", "above 268435456"),
            (b"\x3f\xff\xff\xff\xff\x0f", "longer than 5 bytes"),
            (b"\x40", "a field is cut off"),
            (b"\x40\x01a", "a field is cut off"),
            (b"\x44", "a field is cut off"),
            (b"\x40\x02a", "longer than its block"),
            (b"\x40\x01a\x02b", "longer than its block"),
            (b"\x44\x82\xff", "longer than its block"),
            (b"\x44\x7f\x00", "longer than its block"),
            (b"\x82\x20", "after a field"),
            (b"\x20\x82\x20", "after a field"),
            (b"\x20\x20\x20", "more than 2 updates"),
            (b"\x3f\xe2\x1f", "updated to 4097 bytes; the most is 4096"),
            (b"\x44\x81\xff", "padding"),
            (b"\x44\x82\x1f\xff", "padding"),
            (b"\x44\x81\x18", "padding"),
            (b"\x44\x84\xff\xff\xff\xff", "end of a string"),
            (b"\x40\x81\xff\x01a", "padding"),
        ],
    )
    def test_error(self, block, message):
        with pytest.raises(HPACKError, match=message):
            decoder().decode(block)

    def test_good_blocks_near_the_errors(self):
        assert decoder().decode(b"\x20\x20\x82").fields
        assert decoder().decode(b"\x3f\xe1\x1f\x82").fields
        assert pairs(decoder().decode(b"\x04\x7f\x80\x80\x80\x00" + b"a" * 127)) == [(":path", "a" * 127)]

    @given(st.binary(max_size=60), st.binary(max_size=60))
    def test_any_bytes_decode_or_raise_hpack_error(self, first, second):
        table = decoder(max_size=500, max_fields=5, table_size=200)
        try:
            for block in (first, second, second):
                table.decode(block)
        except HPACKError:
            pass


class TestTable:
    def test_the_oldest_fields_are_evicted(self):
        table = decoder(table_size=100)  # two fields of 34 bytes
        table.decode(literal("a", "1") + literal("b", "2") + literal("c", "3"))
        assert pairs(table.decode(b"\xbe\xbf")) == [("c", "3"), ("b", "2")]
        with pytest.raises(HPACKError):
            table.decode(b"\xc0")

    def test_a_field_larger_than_the_table_empties_it(self):
        table = decoder(table_size=100)
        table.decode(literal("a", "1"))
        assert pairs(table.decode(literal("b", "x" * 100)))[0][0] == "b"
        with pytest.raises(HPACKError, match="ends at 61"):
            table.decode(NEWEST)
        assert pairs(table.decode(literal("c", "1") + NEWEST)) == [("c", "1")] * 2

    def test_a_name_may_be_that_of_the_entry_that_the_field_evicts(self):
        table = decoder(table_size=40)
        table.decode(literal("name", "1"))
        assert pairs(table.decode(b"\x7e" + string("2") + NEWEST)) == [("name", "2")] * 2

    def test_updates_of_the_size_evict(self):
        table = decoder()
        table.decode(literal("a", "1") + literal("b", "2"))
        assert pairs(table.decode(resized(34) + NEWEST)) == [("b", "2")]
        table.decode(literal("c", "3"))
        assert pairs(table.decode(NEWEST)) == [("c", "3")]
        with pytest.raises(HPACKError):
            table.decode(b"\xbf")

    def test_two_updates_empty_the_table_and_open_it_again(self):
        table = decoder()
        table.decode(literal("a", "1"))
        assert pairs(table.decode(resized(0) + resized(4096) + literal("b", "2") + NEWEST)) == [("b", "2")] * 2

    def test_without_a_table(self):
        table = decoder(table_size=0)
        assert pairs(table.decode(literal("a", "1"))) == [("a", "1")]
        with pytest.raises(HPACKError):
            table.decode(NEWEST)

    def test_a_larger_table_begins_as_the_protocol_says(self):
        table = decoder(table_size=8192)
        table.decode(literal("a", "x" * 3000) + literal("b", "x" * 3000))
        with pytest.raises(HPACKError):
            table.decode(b"\xbf")
        table = decoder(table_size=8192)
        table.decode(resized(8192) + literal("a", "x" * 3000) + literal("b", "x" * 3000))
        assert [name for name, _ in pairs(table.decode(b"\xbe\xbf"))] == ["b", "a"]


class TestMemo:
    def test_an_equal_block_gives_the_same_object(self):
        table = decoder()
        table.decode(literal("a", "1"))
        block = b"\x82\xbe" + literal("b", "2", 0x00)
        first = table.decode(block)
        assert table.decode(bytes(bytearray(block))) is first
        first.memo = "kept"
        assert table.decode(block).memo == "kept"
        assert table.decode(b"\x83") is not first
        assert table.decode(block) is first

    @pytest.mark.parametrize(
        "change",
        [
            literal("c", "3"),
            b"\x44" + string("/"),
            resized(0),
            resized(4096),
            literal("large", "x" * 5000),
        ],
    )
    def test_a_change_of_the_table_forgets(self, change):
        table = decoder()
        table.decode(literal("a", "1") + literal("b", "2"))
        first = table.decode(b"\x82\xbe\xbf")
        table.decode(change)
        try:
            again = table.decode(b"\x82\xbe\xbf")
        except HPACKError:
            return  # the entries are gone
        assert again is not first

    def test_an_index_means_another_field_after_a_change(self):
        table = decoder()
        table.decode(literal("a", "1"))
        assert pairs(table.decode(NEWEST)) == [("a", "1")]
        table.decode(literal("b", "2"))
        assert pairs(table.decode(NEWEST)) == [("b", "2")]
        table.decode(resized(0) + resized(4096))
        with pytest.raises(HPACKError):
            table.decode(NEWEST)

    def test_a_block_that_changes_the_table_is_decoded_each_time(self):
        table = decoder(table_size=68)
        block = b"\x7e" + string("2") + b"\xbf"
        table.decode(literal("a", "0") + literal("b", "1"))
        assert pairs(table.decode(block)) == [("b", "2"), ("b", "1")]
        assert pairs(table.decode(block)) == [("b", "2"), ("b", "2")]

    def test_the_number_of_blocks_is_bounded(self):
        table = decoder()
        blocks = [literal("a", str(number), 0x00) for number in range(40)]
        first = [table.decode(block) for block in blocks]
        again = [table.decode(block) for block in reversed(blocks)]
        assert sum(one is other for one, other in zip(first, reversed(again), strict=True)) <= 16

    def test_the_size_of_blocks_is_bounded(self):
        table = decoder(max_size=1 << 20)
        large = literal("a", "x" * 16384, 0x00)
        assert table.decode(large) is not table.decode(large)
        table.decode(literal("a", "x" * 4000))
        blocks = [NEWEST * 3 + bytes([0x80 + number]) for number in range(1, 11)]  # 4 bytes each, which mean 12,000
        first = [table.decode(block) for block in blocks]
        again = [table.decode(block) for block in blocks]
        assert not any(one is other for one, other in zip(first, again, strict=True))


class TestLimits:
    """Section 5 row 7."""

    def test_a_block_of_the_largest_size(self):
        block = literal("a", "x" * 67, 0x00)
        assert not decoder(max_size=100).decode(block).is_too_large
        too_large = decoder(max_size=99).decode(block)
        assert (too_large.is_too_large, too_large.fields, too_large.size) == (True, [], 100)

    @pytest.mark.parametrize(("max_fields", "most"), [(100, 4096), (2048, 4096), (3000, 6000)])
    @pytest.mark.parametrize("first", [0x40, 0x00])
    def test_the_number_of_literal_fields(self, max_fields, most, first):
        one = literal("a", "b", first)
        assert decoder(max_fields=max_fields).decode(one * most).is_too_large
        with pytest.raises(HPACKError, match=f"more than {most} literal fields"):
            decoder(max_fields=max_fields).decode(one * (most + 1))

    def test_a_block_that_is_too_large_leaves_the_table_right(self):
        table = decoder(max_size=200)
        block = table.decode(literal("a", "x" * 100) + literal("b", "y" * 100) + literal("c", "1"))
        assert block.is_too_large
        assert [field.name for field in block.fields] == ["a"]
        assert pairs(table.decode(NEWEST)) == [("c", "1")]
        assert pairs(table.decode(b"\xbf")) == [("b", "y" * 100)]
        assert not table.decode(NEWEST).is_too_large

    def test_a_bomb_of_references_keeps_no_more_than_the_limit(self):
        table = decoder(max_size=32768)
        table.decode(literal("a", "x" * 4000))
        bomb = NEWEST * 30_000
        tracemalloc.start()
        block = table.decode(bomb)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert block.is_too_large
        assert len(block.fields) <= 8
        assert block.size == 30_000 * 4033
        assert peak < 64 * 1024
        assert pairs(table.decode(NEWEST)) == [("a", "x" * 4000)]

    def test_a_bomb_of_empty_fields(self):
        block = decoder().decode(literal("", "", 0x00) * 4_000)
        assert block.is_too_large
        assert len(block.fields) <= 1024

    def test_a_bomb_of_insertions_keeps_no_more_than_the_table(self):
        table = decoder(max_size=32768)
        table.decode(literal("a", "x" * 4000))
        tracemalloc.start()
        table.decode((b"\x7e" + string("y")) * 4_000)
        kept = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert kept < 256 * 1024

    @pytest.mark.parametrize("count", [3, 4])
    def test_the_number_of_fields(self, count):
        block = b"\x82\x84\x86" + b"".join(literal(f"a{number}", "1") for number in range(count))
        assert decoder(max_fields=3).decode(block).is_too_large == (count > 3)

    def test_a_cookie_in_pieces_counts_once(self):
        block = literal("cookie", "a=1") * 50 + literal("a", "1")
        assert not decoder(max_fields=2).decode(block).is_too_large
        assert decoder(max_fields=1).decode(block).is_too_large

    def test_a_block_that_is_too_large_is_not_kept(self):
        table = decoder(max_size=50)
        assert table.decode(b"\x82\x84") is not table.decode(b"\x82\x84")


NAME = st.sampled_from([":path", "cookie", "accept", "x-a", "x-b", "date", "A", ""])
VALUE = st.sampled_from(["", "1", "/index.html", "x" * 60, "y" * 900]) | st.text(
    st.characters(max_codepoint=255), max_size=12
)
FIELD = st.tuples(NAME, VALUE, st.booleans())
BLOCK = st.tuples(st.lists(FIELD, max_size=6), st.booleans(), st.sampled_from([None] * 6 + [0, 40, 100, 1000, 4096]))


@given(st.lists(BLOCK, max_size=12), st.data())
def test_random_blocks_agree_with_hpack(blocks, data):
    """The blocks come from the encoder of `hpack`, some of them twice, through changes of its table's size."""
    encoder, oracle, table = hpack.Encoder(), hpack.Decoder(), decoder(max_size=1 << 16)
    for fields, huffman, size in blocks:
        if size is not None:
            encoder.header_table_size = size
        wire = encoder.encode([hpack.HeaderTuple(n.encode(), v.encode("latin-1")) if indexed else hpack.NeverIndexedHeaderTuple(n.encode(), v.encode("latin-1")) for n, v, indexed in fields], huffman=huffman)  # fmt: skip
        expected = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in oracle.decode(wire, raw=True)]
        assert pairs(table.decode(wire)) == expected == [(n, v) for n, v, _ in fields]
    for indexes in data.draw(st.lists(st.lists(st.integers(1, 66), max_size=4), max_size=6)):
        wire = bytes(0x80 + index for index in indexes)
        for _ in range(2):
            try:
                expected = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in oracle.decode(wire, raw=True)]
            except hpack.InvalidTableIndexError:
                with pytest.raises(HPACKError):
                    table.decode(wire)
            else:
                assert pairs(table.decode(wire)) == expected


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from([0x40, 0x40, 0x00, 0x10]), NAME, VALUE) | st.integers(1, 70), max_size=5),
        max_size=8,
    )
)
def test_a_memo_changes_nothing(blocks):
    """One decoder gets each block three times, the other one has no memory of blocks."""
    remembering, other = decoder(), decoder()
    for block in blocks:
        wire = b"".join(
            bytes([0x80 + one]) if isinstance(one, int) else literal(one[1], one[2], one[0]) for one in block
        )
        for _ in range(3):
            other._recent.clear()
            try:
                expected = other.decode(wire)
            except HPACKError:
                with pytest.raises(HPACKError):
                    remembering.decode(wire)
                return
            found = remembering.decode(wire)
            assert pairs(found) == pairs(expected)
            assert (found.size, found.is_too_large) == (expected.size, expected.is_too_large)
