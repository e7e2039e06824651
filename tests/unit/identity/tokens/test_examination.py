"""The examination of a token says what its judgement says, with expected beside found."""

from contextlib import suppress

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from gproxy.config.types import Secret
from gproxy.handlers.jwt import JWT
from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.identity.examination import first_failure, lines
from gproxy.identity.tokens.claim_rules import ClaimValue
from gproxy.identity.tokens.examination import examine, facts
from gproxy.identity.tokens.issuers import Issuer, Issuers
from gproxy.identity.tokens.judge import TokenJudge
from gproxy.identity.tokens.revocations import Revocations
from gproxy.identity.tokens.rules import TokenRules
from gproxy.identity.tokens.signatures import Signatures

SECRET = "a secret of sixty-four bytes, or a few more, so that HS512 is content"
NOW = 1_700_000_000.0
CLAIMS = {
    "iss": "https://id.example", "sub": "alice", "aud": "https://api.example", "azp": "web", "tenant": "t1",
    "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 100, "jti": "j1",
}  # fmt: skip


def judge():
    signatures = Signatures(("HS256",))
    signatures.use(SECRET)
    rules = TokenRules(
        audience=frozenset({"https://api.example"}), clients=frozenset({"web"}), max_lifetime=1000.0, max_age=50.0
    )
    made = TokenJudge(
        signatures,
        Issuers([Issuer("https://id.example")]),
        rules,
        {"tenant": ClaimValue.parse("t1")},
        checks_binding=True,
    )
    made.revocations = Revocations(tokens=frozenset({"gone"}))
    return made


def signed(key=SECRET, algorithm="HS256", header=None, **changes):
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    return pyjwt.encode(claims, key, algorithm, headers=header)


def failure(token):
    """Return name, reason and text of the first check that does not hold; it has the reason of the judgement."""
    failed = first_failure(examine(token, judge(), NOW))
    with pytest.raises(Untrusted) as caught:
        judge().judge(token.encode(), NOW)
    assert failed is not None
    assert failed.reason == str(caught.value)
    return failed.name, failed.text


def test_a_good_token_has_a_yes_for_each_check():
    checks = examine(signed(), judge(), NOW)
    assert [check.name for check in checks] == [
        "form", "alg", "iss", "typ", "exp", "max_lifetime", "nbf", "aud", "clients", "max_age", "signature",
        "claim tenant", "revoked",
    ]  # fmt: skip
    assert all(check.holds for check in checks), lines(checks)


@pytest.mark.parametrize(
    ("changes", "name", "text"),
    [
        ({"iss": "https://id.example/"}, "iss", "found 'https://id.example/' (differs by a trailing slash)"),
        ({"iss": None}, "iss", "expected 'https://id.example'; found none"),
        ({"header": {"typ": "secevent+jwt"}}, "typ", "expected 'JWT' or 'at+jwt'; found 'secevent+jwt'"),
        ({"exp": NOW - 60}, "exp", "ends 2023-11-14T22:12:20Z, 60 s ago"),
        ({"exp": None}, "exp", ""),
        ({"exp": "soon"}, "exp", "ends: 'soon'"),
        ({"exp": NOW + 2000}, "max_lifetime", "ends 2023-11-14T22:46:40Z, 2000 s from now"),
        ({"nbf": NOW + 5}, "nbf", "begins 2023-11-14T22:13:25Z, 5 s from now"),
        ({"aud": "https://API.example"}, "aud", "expected 'https://api.example'; found 'https://API.example' (differs by upper and lower case)"),
        ({"aud": ["a", "b"]}, "aud", "expected 'https://api.example'; found 'a', 'b'"),
        ({"azp": "app"}, "clients", "expected 'web'; found 'app'"),
        ({"iat": NOW - 51}, "max_age", "issued 2023-11-14T22:12:29Z, 51 s ago"),
        ({"key": SECRET + "!"}, "signature", ""),
        ({"tenant": "t2"}, "claim tenant", "expected 't1'; found 't2'"),
        ({"cnf": {"jkt": "x"}}, "cnf", "the connection must have the client certificate"),
        ({"jti": "gone"}, "revoked", ""),
        ({"algorithm": "HS512"}, "alg", "expected 'HS256'; found 'HS512'"),
        ({"header": {"crit": ["b64"]}}, "alg", "is 'HS256'"),
    ],
)  # fmt: skip
def test_the_failing_check_is_named_with_expected_and_found(changes, name, text):
    found, shown = failure(signed(**changes))
    assert found == name
    assert shown.endswith(text)


@pytest.mark.parametrize("token", ["", "a", "a.b", "a.b.c", "é.b.c", "e30.e30.=", "." * 100, "e30.W10.e30"])
def test_what_is_no_token_is_malformed(token):
    assert failure(token)[0] == "form"


@given(st.data())
def test_a_mutated_token_fails_for_the_reason_of_the_judgement(data):
    token = signed(**data.draw(st.sampled_from([{}, {"aud": "x"}, {"exp": NOW - 1}, {"tenant": None}])))
    place = data.draw(st.integers(0, len(token) - 1))
    mutated = token[:place] + data.draw(st.sampled_from("Aa0_-.=é")) + token[place + 1 :]
    failed = first_failure(examine(mutated, judge(), NOW))
    reason = None
    with suppress(Untrusted):
        try:
            judge().judge(mutated.encode(), NOW)
        except Untrusted as error:
            reason = str(error)
            raise
    assert (failed.reason if failed else None) == reason


class Key:
    kid = "k1"

    def __init__(self, private):
        self._public = private.public_key()

    def verify(self, signed, signature):
        return pyjwt.algorithms.get_default_algorithms()["ES256"].verify(signed, self._public, signature)


class Keys:
    def __init__(self, *keys, error=None):
        self.keys = keys
        self.error = error
        self.ids = {"k0", "k00"} if error else {"k1"}

    def find(self, kid, algorithm):
        if self.error:
            raise self.error
        return self.keys


EC = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (None, ["signature     -    not checked: no key is known here"]),
        ({}, ["signature     -    not checked: no key is known here"]),
        ({"https://id.example": Keys(Key(EC))}, ["key           yes  kid is 'k1'", "signature     yes"]),
        (
            {"https://id.example": Keys(Key(OTHER))},
            ["key           yes  kid is 'k1'", "signature     no   its signature is wrong"],
        ),
        (
            {"https://id.example": Keys(error=Untrusted("its key is unknown"))},
            ["key           no   its key is unknown; kid is 'k1'; known are 'k0', 'k00'"],
        ),
        (
            {"https://id.example": Keys(error=Unavailable("no usable set"))},
            ["key           -    not checked: no usable set"],
        ),
    ],
)
def test_keys_of_a_set_verify_if_they_are_known(keys, expected):
    judge = TokenJudge(Signatures(("ES256",)), Issuers([Issuer("https://id.example")]), TokenRules(), {})
    checks = examine(signed(EC, "ES256", {"kid": "k1"}), judge, NOW, keys)
    assert [line for line in lines(checks) if line.startswith(("key", "signature"))] == expected


def test_the_facts_are_those_that_the_token_claims():
    assert facts(signed(header={"kid": "k7"})) == [
        ("iss", "https://id.example"), ("kid", "k7"), ("alg", "HS256"), ("aud", "https://api.example"),
    ]  # fmt: skip
    assert facts("x.y.z") == []


def test_a_handler_examines_its_size_its_claims_and_its_role():
    handler = JWT(secret=Secret(SECRET), role="boss", scope=("a", "b"), forward={"org": "X-Org"}, max_token=2000)
    checks, found, identity = handler.examine(signed(exp=4e9, nbf=1, role="clerk", scope="a"))
    assert lines(checks)[-2:] == [
        "role          no   expected 'boss'; found 'clerk'",
        "scope         no   expected 'a' and 'b'; found 'a'",
    ]
    assert dict(found)["alg"] == "HS256"
    assert identity is not None
    assert (identity.user, identity.roles, identity.scopes) == ("alice", {"clerk"}, {"a"})
    assert lines(handler.examine(signed(exp=4e9, nbf=1, org="a,b")).checks)[-1].startswith(
        "forward       no   its claim org"
    )
    (size,) = handler.examine("x" * 2001).checks
    assert (size.name, size.holds) == ("size", False)


def test_no_line_has_a_part_of_the_token():
    for changes in ({}, {"aud": "x"}, {"key": SECRET + "!"}):
        token = signed(**changes)
        text = "\n".join(lines(examine(token, judge(), NOW)))
        assert not any(part in text for part in token.split("."))
        assert SECRET not in text
