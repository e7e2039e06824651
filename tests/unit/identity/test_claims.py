import pytest

from gproxy.identity.claims import Expected, as_field, subject, words
from gproxy.identity.signatures import Untrusted

NOW = 1000.0


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"exp": 1001}, Expected()),
        ({"exp": 1000.5}, Expected()),
        ({"exp": 991}, Expected(leeway=10)),
        ({"exp": 2000, "nbf": 1000}, Expected()),
        ({"exp": 2000, "nbf": 1010}, Expected(leeway=10)),
        ({"exp": 2000, "iss": "me"}, Expected(issuer="me")),
        ({"exp": 2000, "aud": "a"}, Expected(audience=frozenset("ab"))),
        ({"exp": 2000, "aud": ["x", 7, "b"]}, Expected(audience=frozenset("ab"))),
        ({"exp": 2000, "aud": "a", "iss": "me"}, Expected()),
    ],
)
def test_claims_that_hold(claims, expected):
    expected.check(claims, NOW)


@pytest.mark.parametrize(
    ("claims", "expected", "why"),
    [
        ({}, Expected(), "has no expiry date"),
        ({"exp": 1000}, Expected(), "has expired"),
        ({"exp": 990}, Expected(leeway=10), "has expired"),
        ({"exp": None}, Expected(), "its exp is no date"),
        ({"exp": "2000"}, Expected(), "its exp is no date"),
        ({"exp": True}, Expected(), "its exp is no date"),
        ({"exp": float("inf")}, Expected(), "its exp is no date"),
        ({"exp": float("nan")}, Expected(), "its exp is no date"),
        ({"exp": 10**400}, Expected(), "its exp is no date"),
        ({"exp": 2000, "nbf": 1001}, Expected(), "not valid yet"),
        ({"exp": 2000, "nbf": "soon"}, Expected(), "its nbf is no date"),
        ({"exp": 2000}, Expected(issuer="me"), "issuer"),
        ({"exp": 2000, "iss": "you"}, Expected(issuer="me"), "issuer"),
        ({"exp": 2000, "iss": ["me"]}, Expected(issuer="me"), "issuer"),
        ({"exp": 2000}, Expected(audience=frozenset("a")), "audience"),
        ({"exp": 2000, "aud": "ab"}, Expected(audience=frozenset("a")), "audience"),
        ({"exp": 2000, "aud": [["a"], {"a": 1}]}, Expected(audience=frozenset("a")), "audience"),
    ],
)
def test_claims_that_do_not_hold(claims, expected, why):
    with pytest.raises(Untrusted, match=why):
        expected.check(claims, NOW)


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
