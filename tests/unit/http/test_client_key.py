import pytest

from gproxy.http.client_key import ClientKey
from gproxy.http.identity import Identity
from gproxy.testing import request


def key(option, identity=None, user="", **headers):
    asked = request(headers={name.replace("_", "-"): value for name, value in headers.items()})
    asked.identity = identity
    asked.user = user
    return ClientKey(option).of(asked)


ALICE = Identity(user="alice", handler="jwt", issuer="https://a.example", claims={"tenant": "acme", "org": {"id": 7}})
ADDRESS = "192.0.2.1"


def test_equal_users_of_two_issuers_are_two_clients():
    other = Identity(user="alice", handler="jwt", issuer="https://b.example")
    assert key("user", ALICE) == "=jwt https://a.example alice"
    assert key("user", ALICE) != key("user", other)


def test_a_user_without_an_identity_as_handlers_of_users_set_it():
    assert key("user", user="alice") == "=alice"
    assert key("user", ALICE, user="alice") == "=jwt https://a.example alice"


def test_an_identity_without_a_user_counts_by_address():
    assert key("user", Identity(handler="jwt", issuer="https://a.example")) == ADDRESS


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("claim:tenant", "=https://a.example acme"),
        ("claim:org.id", "=https://a.example 7"),
        ("claim:org", ADDRESS),
        ("claim:other", ADDRESS),
        ("ip", ADDRESS),
        ("header:X-Tenant", "=h"),
        ("header:X-Other", ADDRESS),
    ],
)
def test_each_key(option, expected):
    assert key(option, ALICE, X_Tenant="h") == expected


def test_a_claim_without_an_identity_counts_by_address_whatever_the_user():
    assert key("claim:tenant", user="alice") == ADDRESS


def test_equal_claims_of_two_issuers_are_two_keys():
    def of(issuer, tenant):
        return key("claim:tenant", Identity(issuer=issuer, claims={"tenant": tenant}))

    assert len({of("https://a", "acme"), of("https://b", "acme"), of("", "acme")}) == 3
    assert of("a b", "c") != of("a", "b c")


def test_long_values_are_digests():
    long = Identity(claims={"tenant": "t" * 1000})
    assert len(key("claim:tenant", long)) == 33


@pytest.mark.parametrize("option", ["", "users", "claim:", "claim:a b", "header:", "header:a b", "IP", "claim"])
def test_no_key(option):
    with pytest.raises(ValueError, match="expected ip, user, claim:NAME or header:NAME"):
        ClientKey(option)


@pytest.mark.parametrize(
    ("option", "expected"), [("ip", False), ("header:X", False), ("user", True), ("claim:a", True)]
)
def test_which_keys_need_an_identity(option, expected):
    assert ClientKey(option).is_of_identity is expected
