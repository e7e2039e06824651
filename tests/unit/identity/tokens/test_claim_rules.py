import pytest

from gproxy.identity.errors import Untrusted
from gproxy.identity.tokens.claim_rules import ClaimValue, check_claims


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("admin", "admin"),
        ("admin", ["dev", "admin"]),
        ("true", True),
        ("false", False),
        ("7", 7),
        ("1.5", [1.5]),
        ("*", "anything"),
        ("*", False),
        ("*", []),
        ("*", {}),
        ("/t-[0-9]+/", "t-42"),
        ("/t-[0-9]+/", ["x", "t-1"]),
        ("/", "/"),
        ("//", "//"),
        ("/a", "/a"),
    ],
)
def test_a_claim_as_demanded(text, value):
    assert ClaimValue.parse(text).fits(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("admin", "administrator"),
        ("admin", "dev admin"),
        ("admin", ["dev", ["admin"]]),
        ("admin", {"admin": True}),
        ("admin", None),
        ("True", True),
        ("1", True),
        ("None", None),
        ("*", None),
        ("/t-[0-9]+/", "t-42x"),
        ("/t-[0-9]+/", "xt-42"),
        ("/t-[0-9]+/", "t-42\n"),
        ("/.*/", None),
        ("/.*/", {}),
    ],
)
def test_a_claim_that_is_not_as_demanded(text, value):
    assert not ClaimValue.parse(text).fits(value)


@pytest.mark.parametrize(("text", "problem"), [("", "the value is missing"), ("/(/", "does not compile")])
def test_wrong_values(text, problem):
    with pytest.raises(ValueError, match=problem):
        ClaimValue.parse(text)


def test_claims_by_name_and_by_path():
    demands = {"https://example.com/plan": ClaimValue.parse("pro"), "org.id": ClaimValue.parse("7")}
    check_claims(demands, {"https://example.com/plan": "pro", "org": {"id": 7}})
    check_claims(demands, {"https://example.com/plan": ["pro"], "org.id": 7})
    with pytest.raises(Untrusted, match=r"^its claim org\.id is not as demanded$"):
        check_claims(demands, {"https://example.com/plan": "pro", "org": {"name": 7}})


def test_a_demand_is_written_as_it_was_read():
    assert [str(ClaimValue.parse(text)) for text in ("admin", "*", "/t-[0-9]+/")] == ["admin", "*", "/t-[0-9]+/"]
