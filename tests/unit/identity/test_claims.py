import pytest

from gproxy.identity.claims import as_field, subject, words
from gproxy.identity.tokens.signatures import Untrusted


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("alice", "alice"),
        ("Zoë", "Zoë"),
        (7, "7"),
        (1.5, "1.5"),
        (True, "true"),
        (["admin", "dev", 3], "admin,dev,3"),
        ([], ""),
        (None, None),
    ],
)
def test_a_claim_in_a_header(value, field):
    assert as_field({"x": value}, "x") == field
    assert as_field({}, "x") is None


@pytest.mark.parametrize(
    "value",
    ["a\r\nX-Admin: 1", "a\0", "a\tb", "a\x85b", "日本", {"a": 1}, ["a", "b,admin"], [None],
     " admin", "admin ", "\xa0admin", [" a"], "Ã©", ["a", "Ã©"], "user,admin", ",", ["a", ""], [""]],
)  # fmt: skip
def test_a_claim_that_no_header_can_say(value):
    with pytest.raises(Untrusted, match="its claim x cannot be sent in a header"):
        as_field({"x": value}, "x")


@pytest.mark.parametrize("sub", ["a\nb", "a\x1b[31m", "\u2028", "\ud800", 7, None, ["alice"]])
def test_no_subject(sub):
    with pytest.raises(Untrusted, match="subject"):
        subject({"sub": sub})


def test_a_subject():
    assert [subject({"sub": "日本"}), subject({"sub": ""}), subject({})] == ["日本", "", ""]


@pytest.mark.parametrize(
    "claims",
    [
        {"role": "admin"}, {"roles": ["dev", "admin"]}, {"role": ["admin"]}, {"roles": "dev admin"},
        {"realm": {"roles": ["admin"]}}, {"realm.roles": "admin"},
    ],
)  # fmt: skip
def test_words_of_claims(claims):
    assert "admin" in words(claims, ("role", "roles", "realm.roles"))


@pytest.mark.parametrize("claims", [{}, {"role": "administrator"}, {"roles": {"admin": 1}}, {"roles": [["admin"]]}])
def test_not_a_word_of_claims(claims):
    assert "admin" not in words(claims, ("role", "roles"))
