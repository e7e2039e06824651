import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.observe.log import escape, escape_word


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text", "plain text"),
        ("Grüße, 日本\xa0!", "Grüße, 日本\xa0!"),
        ("\t\r\n\0\x1b\x7f", r"\x09\x0d\x0a\x00\x1b\x7f"),
        ("\x85\x9b", r"\x85\x9b"),
        ("\u2028\ud800", r"\u2028\ud800"),
    ],
    ids=["plain", "not ASCII", "C0", "C1", "line separator and surrogate"],
)
def test_escape(text, expected):
    assert escape(text) == expected


@given(st.text(st.characters(exclude_categories=())))
def test_a_word_is_one_word(text):
    assert len(escape_word(text).split()) <= 1
    assert not any(character.isspace() for character in escape_word(text))
