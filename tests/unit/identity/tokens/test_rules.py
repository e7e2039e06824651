import pytest

from gproxy.identity.errors import Untrusted
from gproxy.identity.tokens.rules import TokenRules

NOW = 1000.0
PROFILE = {
    "iss": "https://id.example", "exp": 2000, "aud": "api", "sub": "alice", "client_id": "shop", "iat": 900, "jti": "1",
}  # fmt: skip


def rules(**options):
    return TokenRules(
        **{name: frozenset(value) if isinstance(value, set) else value for name, value in options.items()}
    )


@pytest.mark.parametrize(
    ("claims", "options"),
    [
        ({"exp": 1001}, {}),
        ({"exp": 1000.5}, {}),
        ({"exp": 991}, {"leeway": 10}),
        ({"exp": 2000, "nbf": 1000}, {}),
        ({"exp": 2000, "nbf": 1010}, {"leeway": 10}),
        ({"exp": 2000, "iss": "anyone"}, {}),
        ({"exp": 2000, "aud": "a"}, {"audience": {"a", "b"}}),
        ({"exp": 2000, "aud": ["x", 7, "b"]}, {"audience": {"a", "b"}}),
        ({"exp": 2000, "aud": "a"}, {}),
        ({"exp": 2000, "azp": "shop"}, {"clients": {"shop"}}),
        ({"exp": 2000, "client_id": "shop"}, {"clients": {"shop", "blog"}}),
        ({"exp": 2000, "client_id": "shop", "azp": "blog"}, {"clients": {"shop", "blog"}}),
        ({"exp": 1600}, {"max_lifetime": 600}),
        ({"exp": 9999, "iat": 941}, {"max_age": 60}),
        ({"exp": 9999, "iat": 1005}, {"max_age": 60, "leeway": 5}),
        ({}, {"requires_exp": False}),
    ],
)
def test_claims_that_hold(claims, options):
    rules(**options).check(claims, None, NOW)


@pytest.mark.parametrize(
    ("claims", "options", "why"),
    [
        ({}, {}, "it has no expiry date"),
        ({"exp": 1000}, {}, "it has expired"),
        ({"exp": 1000}, {"requires_exp": False}, "it has expired"),
        ({"exp": 990}, {"leeway": 10}, "it has expired"),
        ({"exp": None}, {}, "its exp is no date"),
        ({"exp": "2000"}, {}, "its exp is no date"),
        ({"exp": True}, {}, "its exp is no date"),
        ({"exp": float("inf")}, {}, "its exp is no date"),
        ({"exp": float("nan")}, {}, "its exp is no date"),
        ({"exp": 10**400}, {}, "its exp is no date"),
        ({"exp": 2000, "nbf": 1001}, {}, "it is not valid yet"),
        ({"exp": 2000, "nbf": "soon"}, {}, "its nbf is no date"),
        ({"exp": 2000}, {"audience": {"a"}}, "it is meant for another audience"),
        ({"exp": 2000, "aud": "ab"}, {"audience": {"a"}}, "it is meant for another audience"),
        ({"exp": 2000, "aud": "*"}, {"audience": {"a"}}, "it is meant for another audience"),
        ({"exp": 2000, "aud": [["a"], {"a": 1}]}, {"audience": {"a"}}, "it is meant for another audience"),
        ({"exp": 2000}, {"clients": {"shop"}}, "it was issued to another client"),
        ({"exp": 2000, "azp": "eve"}, {"clients": {"shop"}}, "it was issued to another client"),
        ({"exp": 2000, "azp": "eve", "client_id": "shop"}, {"clients": {"shop"}}, "it was issued to another client"),
        ({"exp": 2000, "azp": ["shop"]}, {"clients": {"shop"}}, "it was issued to another client"),
        ({"exp": 1601}, {"max_lifetime": 600}, "its expiry date is too far ahead"),
        ({"exp": 2000}, {"max_age": 60}, "it has no date of issue"),
        ({"exp": 2000, "iat": 940}, {"max_age": 60}, "it is too old"),
        ({"exp": 2000, "iat": 1001}, {"max_age": 60}, "its date of issue is in the future"),
        ({"exp": 2000, "iat": "1000"}, {"max_age": 60}, "its iat is no date"),
    ],
)
def test_claims_that_do_not_hold(claims, options, why):
    with pytest.raises(Untrusted, match=f"^{why}$"):
        rules(**options).check(claims, None, NOW)


@pytest.mark.parametrize(
    ("claims", "options"),
    [
        ({"exp": 2000, "nbf": 1001}, {}),
        ({"exp": 1601}, {"max_lifetime": 600}),
        ({"exp": 2000, "iat": 1001}, {"max_age": 60}),
    ],
)
def test_a_verdict_that_time_changes_is_not_lasting(claims, options):
    with pytest.raises(Untrusted) as caught:
        rules(**options).check(claims, None, NOW)
    assert not caught.value.lasting
    rules(**options).check(claims, None, NOW + 1)


@pytest.mark.parametrize("typ", [None, "jwt", "at+jwt"])
def test_types_of_access_tokens(typ):
    rules().check({"exp": 2000}, typ, NOW)


@pytest.mark.parametrize("typ", ["", "id+jwt", "logout+jwt", "dpop+jwt", "secevent+jwt", "jwt ", "jose"])
def test_other_types_serve_other_purposes(typ):
    with pytest.raises(Untrusted, match=r"^its type is not that of an access token$"):
        rules().check({"exp": 2000}, typ, NOW)


@pytest.mark.parametrize("typ", [None, "jwt", "id+jwt"])
def test_a_demanded_type(typ):
    rules(typ="at+jwt").check(PROFILE, "at+jwt", NOW)
    with pytest.raises(Untrusted, match=r"^its type is not at\+jwt$"):
        rules(typ="at+jwt").check(PROFILE, typ, NOW)


@pytest.mark.parametrize("name", sorted(PROFILE.keys() - {"exp"}))
def test_the_claims_that_rfc_9068_requires(name):
    claims = dict(PROFILE)
    del claims[name]
    rules().check(claims, "at+jwt", NOW)
    with pytest.raises(Untrusted, match=f"^its claim {name} is missing$"):
        rules(typ="at+jwt").check(claims, "at+jwt", NOW)


@pytest.mark.parametrize("claims", [{"sub": 7}, {"jti": None}, {"aud": []}, {"client_id": {}}])
def test_required_claims_are_texts(claims):
    with pytest.raises(Untrusted, match=r"^its claim \w+ is missing$"):
        rules(typ="at+jwt").check(PROFILE | claims, "at+jwt", NOW)


@pytest.mark.parametrize(
    ("options", "until"),
    [({}, 2000), ({"leeway": 10}, 2010), ({"max_age": 60}, 1060), ({"max_age": 3600, "leeway": 1}, 2001)],
)
def test_the_end_of_a_verdict(options, until):
    assert rules(**options).until({"exp": 2000, "iat": 1000}) == until
    with pytest.raises(Untrusted):
        rules(**options).check({"exp": 2000, "iat": 1000}, None, until)
    rules(**options).check({"exp": 2000, "iat": 1000}, None, until - 0.001)


def test_no_expiry_date_no_end():
    assert rules(requires_exp=False).until({}) == float("inf")
