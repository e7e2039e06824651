import pytest

from gproxy.http.identity import Identity
from gproxy.identity.tiers import MOST, Tier, Tiers


def whole(text):
    return int(text)


def having(**claims):
    return Identity(claims=claims)


def test_a_claim_names_the_tier():
    tiers = Tiers("plan", 1, {"free": 5, "pro": 50, "3": 7}, whole)
    assert tiers.of(having(plan="pro")) == Tier("pro", 50)
    assert tiers.of(having(plan=3)) == Tier("3", 7)
    assert tiers.limits == [1, 5, 50, 7]


@pytest.mark.parametrize(
    "identity", [None, having(), having(plan="Pro"), having(plan="8"), having(plan=["pro"]), having(plan={"a": "pro"})]
)
def test_an_unknown_or_absent_tier_gets_the_default(identity):
    assert Tiers("plan", 1, {"free": 5, "pro": 50}, whole).of(identity) == Tier("", 1)


def test_a_path_to_the_claim():
    assert Tiers("account.plan", 1, {"pro": 50}, whole).of(having(account={"plan": "pro"})).limit == 50


def test_without_tiers_the_claim_is_the_limit_and_parsed_once():
    parsed = []
    tiers = Tiers("limit", 1, {}, lambda text: parsed.append(text) or int(text))
    for _ in range(3):
        assert tiers.of(having(limit="20")) == Tier("20", 20)
        assert tiers.of(having(limit=30)) == Tier("30", 30)
        assert tiers.of(having(limit="many")) == Tier("", 1)
    assert parsed == ["20", "30", "many"]


def test_at_most_64_different_limits_come_from_claims():
    full = []
    tiers = Tiers("limit", 1, {}, whole, lambda: full.append(True))
    assert [tiers.of(having(limit=number)).limit for number in range(2, 2 + MOST)] == [*range(2, 2 + MOST)]
    assert full == []
    assert tiers.of(having(limit=500)) == Tier("", 1)
    assert full == [True]
    assert tiers.of(having(limit=2)).limit == 2


def test_texts_that_are_no_limit_take_no_room_from_those_that_are_and_are_bounded():
    tiers = Tiers("limit", 1, {}, whole)
    for number in range(1000):
        assert tiers.of(having(limit=f"x{number}")).name == ""
    assert len(tiers._unknown) <= MOST
    assert tiers.of(having(limit="9")).limit == 9


@pytest.mark.parametrize(
    ("tiers", "claim", "report"),
    [
        ({"pro": 5}, "gold", 'the claim plan is "gold", which is none of tiers; such clients get limit'),
        ({}, "many", 'the claim plan is "many", which is no limit; such clients get limit'),
        ({}, "x" * 33, "the claim plan is a text of 33 characters, which is no limit; such clients get limit"),
        ({}, "a\nb", "the claim plan is a text of 3 characters, which is no limit; such clients get limit"),
        ({"pro": 5}, ["pro"], "the claim plan is a list or an object, which is none of tiers; such clients get limit"),
    ],
)
def test_a_claim_that_is_no_tier_is_reported(tiers, claim, report):
    reports = []
    read = Tiers("plan", 1, tiers, whole, report=reports.append)
    for identity in (None, having(), having(plan=None), having(plan=claim)):
        assert read.of(identity).limit == 1
    assert reports == [report]
    read.of(having(plan=claim))
    assert isinstance(claim, list) or reports == [report]
