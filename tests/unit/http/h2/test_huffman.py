"""The Huffman code: against appendix B of RFC 7541, and against the package `hpack`."""

import pytest
from hpack.exceptions import HPACKDecodingError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hypothesis import given
from hypothesis import strategies as st

from gproxy.http.h2.huffman import HPACKError, decode, encode

ORACLE = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
LATIN = st.text(st.characters(max_codepoint=255))


def decoded(data):
    return decode(data, 0, len(data))


def bits(*texts):
    """Return bytes of these bits, padded with ones."""
    text = "".join(texts)
    text += "1" * (-len(text) % 8)
    return int(text or "0", 2).to_bytes(len(text) // 8, "big")


def code(symbol):
    return f"{REQUEST_CODES[symbol]:0{REQUEST_CODES_LENGTH[symbol]}b}"


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
        ("no-cache", "a8eb10649cbf"),
        ("302", "6402"),
        ("Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
        ("", ""),
    ],
)
def test_examples_of_appendix_c(text, wire):
    assert encode(text).hex() == wire
    assert decoded(bytes.fromhex(wire)) == text


@pytest.mark.parametrize("before", range(9))
def test_each_byte_at_each_place_within_a_byte(before):
    for symbol in range(256):
        text = "0" * before + chr(symbol)  # the code of 0 has 5 bits
        assert decoded(bits(code(48) * before, code(symbol))) == text
        assert decoded(encode(text + "0")) == text + "0"


def test_a_part_of_a_block_is_decoded():
    assert decode(b"\xff" + encode("abc") + b"\x00", 1, 1 + len(encode("abc"))) == "abc"


@given(LATIN)
def test_encoding_agrees_with_hpack(text):
    assert encode(text) == ORACLE.encode(text.encode("latin-1"))
    assert decoded(encode(text)) == text


@given(st.binary(max_size=40) | st.lists(st.sampled_from(range(256)).map(code)).map(lambda codes: bits(*codes)))
def test_decoding_agrees_with_hpack(data):
    try:
        expected = decode_huffman(data).decode("latin-1")
    except HPACKDecodingError:
        with pytest.raises(HPACKError):
            decoded(data)
    else:
        assert decoded(data) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bits(code(97)) + b"\xff", "padding of a Huffman code is not up to 7"),  # 3 and 8 ones
        (b"\xff", "padding of a Huffman code is not up to 7"),
        (b"\xff\xff", "cut off, or its padding"),
        (b"\xff\xff\xff", "cut off, or its padding"),
        (bits(code(97), "000"), "not up to 7 bits of ones"),
        (bits(code(97), "110"), "not up to 7 bits of ones"),
        (bits(code(97), "111"), ""),
        (bits(code(0))[:1], "not up to 7 bits of ones"),
        (bits(code(10))[:3], "cut off"),
        (b"\xff\xff\xff\xff", "the end of a string within"),
        (bits(code(97), code(256), code(97)), "the end of a string within"),
    ],
)
def test_bad_codes(data, message):
    if not message:
        assert decoded(data) == "a"
        return
    with pytest.raises(HPACKError, match=message):
        decoded(data)


def test_long_texts_are_encoded_too():
    assert decoded(encode("x" * 5000)) == "x" * 5000


def test_the_memory_for_codes_is_bounded(monkeypatch):
    from gproxy.http.h2 import huffman

    for number in range(3000):
        encode(f"value {number}")
    assert len(huffman._encoded) <= 1024
    encode("y" * 65)
    assert "y" * 65 not in huffman._encoded
