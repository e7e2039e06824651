"""JSON that all readers understand alike."""

import pytest

from gproxy.identity.tokens.strict_json import read_json, read_object


def test_values_are_read():
    assert read_json(b' {"a": [1, null, "\xc3\xa4"]}\r\n') == {"a": [1, None, "ä"]}


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"{} {}", b'{"a": 1, "a": 1}', b'[{"a": {"b": 1, "b": 2}}]', b"NaN", b"-Infinity", b"\xff",
        b"\xef\xbb\xbf{}", '{"a": 1}'.encode("utf-16"), b"[" * 100_000, b"<html>", b"\x00{}",
    ],
)  # fmt: skip
def test_other_texts_are_rejected(data):
    with pytest.raises(ValueError):
        read_json(data)


def test_an_object_is_no_other_value():
    assert read_object(b'{"a": 1}') == {"a": 1}
    for data in (b"[]", b"1", b"null", b'"{}"'):
        with pytest.raises(ValueError, match="no object"):
            read_object(data)
