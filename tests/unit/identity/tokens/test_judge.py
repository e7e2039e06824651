import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gproxy.http.deadline import Deadline
from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.identity.tokens.claim_rules import ClaimValue
from gproxy.identity.tokens.issuers import Issuer, Issuers
from gproxy.identity.tokens.judge import TokenJudge
from gproxy.identity.tokens.revocations import Revocations
from gproxy.identity.tokens.rules import TokenRules
from gproxy.identity.tokens.signatures import Signatures

SECRET = "a secret of sixty-four bytes, or a few more, so that HS512 is content"
NOW = 1000.0
ISSUER = "https://id.example"
CLAIMS = {"iss": ISSUER, "sub": "alice", "exp": 2000, "aud": "api"}
EC = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


class Key:
    def __init__(self, private, kid="k1"):
        self.kid = kid
        self.verified = 0
        self._public = private.public_key()

    def verify(self, signed, signature):
        self.verified += 1
        return pyjwt.algorithms.get_default_algorithms()["ES256"].verify(signed, self._public, signature)


class Keys:
    """The keys of an issuer; records what is asked for."""

    def __init__(self, *keys, error=None):
        self.keys = keys
        self.asked = []
        self.error = error

    def find(self, kid, algorithm, deadline=None):
        self.asked.append((kid, algorithm, deadline))
        if self.error:
            raise self.error
        return self.keys


def by_secret(issuers=(), demands=None, **rules):
    signatures = Signatures(("HS256",))
    signatures.use(SECRET)
    return TokenJudge(signatures, Issuers(map(Issuer, issuers)), TokenRules(**rules), demands or {})


def by_keys(keys, **rules):
    judge = TokenJudge(Signatures(("ES256", "RS256")), Issuers([Issuer(ISSUER)]), TokenRules(**rules), {})
    judge.keys = {ISSUER: keys}
    return judge


def signed(claims=CLAIMS, key=SECRET, algorithm="HS256", **header):
    return pyjwt.encode(claims, key, algorithm, headers=header).encode()


def reason(judge, token):
    with pytest.raises(Untrusted) as caught:
        judge.judge(token, NOW)
    return str(caught.value)


def test_a_good_token():
    found = by_secret([ISSUER]).judge(signed(kid="k7"), NOW)
    assert (found.claims, found.issuer, found.kid, found.key) == (CLAIMS, ISSUER, "k7", None)
    assert (found.until, found.thumbprint) == (2000, "")


def test_a_good_token_of_a_key_set():
    key, deadline = Key(EC), Deadline()
    keys = Keys(key)
    found = by_keys(keys).judge(signed(key=EC, algorithm="ES256", kid="k1"), NOW, deadline)
    assert (found.key, found.kid) == (key, "k1")
    assert keys.asked == [("k1", "ES256", deadline)]


def test_a_token_without_kid_tries_the_keys_that_fit():
    right = Key(EC, "right")
    found = by_keys(Keys(Key(OTHER, "other"), right)).judge(signed(key=EC, algorithm="ES256"), NOW)
    assert (found.key, found.kid) == (right, "right")
    judge = by_keys(Keys(Key(OTHER), Key(OTHER)))
    assert reason(judge, signed(key=EC, algorithm="ES256")) == "its signature is wrong"


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (b"a.b.c", "it is malformed"),
        (signed(), "its algorithm is not accepted here"),
        (signed(CLAIMS | {"iss": "https://evil.example"}, EC, "ES256"), "its issuer is not the expected one"),
        (signed(CLAIMS, EC, "ES256", typ="id+jwt"), "its type is not that of an access token"),
        (signed(CLAIMS | {"exp": 1000}, EC, "ES256"), "it has expired"),
        (signed(CLAIMS | {"nbf": 1001}, EC, "ES256"), "it is not valid yet"),
        (signed(CLAIMS | {"aud": "bank"}, EC, "ES256"), "it is meant for another audience"),
        (signed(CLAIMS | {"azp": "eve"}, EC, "ES256"), "it was issued to another client"),
        (signed(CLAIMS | {"exp": 4001}, EC, "ES256"), "its expiry date is too far ahead"),
    ],
)
def test_a_token_that_fails_before_the_signature_asks_for_no_key(token, why):
    keys = Keys(Key(EC))
    judge = by_keys(keys, audience=frozenset({"api"}), clients=frozenset({"shop"}), max_lifetime=3000)
    assert reason(judge, token) == why
    assert keys.asked == []


@pytest.mark.parametrize("error", [Unavailable("no key set"), Untrusted("its key is unknown", lasting=False)])
def test_errors_of_the_key_set_pass(error):
    with pytest.raises(type(error)) as caught:
        by_keys(Keys(error=error)).judge(signed(key=EC, algorithm="ES256"), NOW)
    assert caught.value is error


def test_claims_bindings_and_revocations_come_after_the_signature():
    judge = by_secret(demands={"plan": ClaimValue.parse("pro")})
    judge.revocations = Revocations(tokens=frozenset({"lost"}), keys=frozenset({"old"}))
    forged = signed(CLAIMS | {"jti": "lost", "cnf": {"jkt": "x"}}, key="x" * 64)
    assert reason(judge, forged) == "its signature is wrong"
    bound = CLAIMS | {"plan": "pro", "jti": "lost"}
    assert reason(judge, signed(CLAIMS | {"jti": "lost"})) == "its claim plan is not as demanded"
    assert (
        reason(judge, signed(bound | {"cnf": {"jkt": "x"}})) == "it is bound to a key whose proof is not checked here"
    )
    assert reason(judge, signed(bound)) == "it is revoked"
    assert reason(judge, signed(CLAIMS | {"plan": "pro"}, kid="old")) == "it is revoked"


def test_a_revoked_key_counts_for_tokens_without_kid():
    judge = by_keys(Keys(Key(EC, "old")))
    judge.revocations = Revocations(keys=frozenset({"old"}))
    assert reason(judge, signed(key=EC, algorithm="ES256")) == "it is revoked"


def test_bindings():
    bound = signed(CLAIMS | {"cnf": {"x5t#S256": "abc"}})
    assert by_secret().judge(bound, NOW).thumbprint == "abc"
    ignoring = TokenJudge(by_secret().signatures, Issuers([]), TokenRules(), {}, checks_binding=False)
    assert ignoring.judge(bound, NOW).thumbprint == ""
    assert ignoring.judge(signed(CLAIMS | {"cnf": {"jkt": "x"}}), NOW).claims["sub"] == "alice"


def test_the_issuer_of_a_tenant_is_the_tenants_own():
    template = "https://login.example/{tid}/v2.0"
    claims = CLAIMS | {"iss": "https://login.example/t-1/v2.0", "tid": "t-1"}
    keys = Keys(Key(EC))
    judge = TokenJudge(Signatures(("ES256",)), Issuers([Issuer(template)]), TokenRules(), {})
    judge.keys = {template: keys}
    assert judge.judge(signed(claims, EC, "ES256"), NOW).issuer == "https://login.example/t-1/v2.0"
    assert reason(judge, signed(claims | {"tid": "t-2"}, EC, "ES256")) == "its issuer is not the expected one"


def test_any_issuer():
    assert by_secret().judge(signed({"exp": 2000}), NOW).issuer == ""
    judge = TokenJudge(Signatures(("ES256",)), Issuers([]), TokenRules(), {})
    judge.keys = {"": Keys(Key(EC))}
    assert judge.judge(signed(CLAIMS | {"iss": "anyone"}, EC, "ES256"), NOW).issuer == "anyone"
