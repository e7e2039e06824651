"""The tables of RFC 7541, compared with those of the package `hpack`."""

from hpack.huffman_constants import REQUEST_CODES_LENGTH
from hpack.table import HeaderTable

from gproxy.http.h2.tables import CODE_LENGTHS, END_LENGTH, STATIC_FIELDS


def test_the_static_fields_are_those_of_appendix_a():
    assert [(name.encode(), value.encode()) for name, value in STATIC_FIELDS] == list(HeaderTable.STATIC_TABLE)


def test_the_code_lengths_are_those_of_appendix_b():
    assert [*CODE_LENGTHS, END_LENGTH] == REQUEST_CODES_LENGTH


def test_the_code_is_complete():
    """Every sequence of bits begins with one code: so a decoder knows no other errors than the end and the padding."""
    assert sum(2.0**-size for size in (*CODE_LENGTHS, END_LENGTH)) == 1
