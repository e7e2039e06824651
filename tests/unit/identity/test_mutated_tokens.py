"""Of all texts that Hypothesis makes of a good token, only the token itself is accepted."""

import json

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.identity.errors import Untrusted
from gproxy.identity.tokens.issuers import Issuer, Issuers
from gproxy.identity.tokens.judge import TokenJudge
from gproxy.identity.tokens.rules import TokenRules
from gproxy.identity.tokens.signatures import Signatures

SECRET = "a secret of sixty-four bytes, or a few more, so that HS512 is content"
CLAIMS = {"iss": "https://id.example", "sub": "alice", "aud": "api", "exp": 2000, "nbf": 900, "scope": "a b"}
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()

alphabet = st.sampled_from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \x00\xff")
edit = st.tuples(st.sampled_from(["replace", "insert", "delete", "double", "swap"]), st.integers(0, 10**6), alphabet)


def judge(algorithm, key):
    signatures = Signatures((algorithm,))
    signatures.use(key if isinstance(key, str) else key.public_key())
    rules = TokenRules(audience=frozenset({"api"}))
    return TokenJudge(signatures, Issuers([Issuer("https://id.example")]), rules, {})


def edited(token, edits):
    text = bytearray(token)
    for kind, number, character in edits:
        place = number % (len(text) or 1)
        if kind == "replace":
            text[place : place + 1] = bytes([character])
        elif kind == "insert":
            text[place:place] = bytes([character])
        elif kind == "delete":
            del text[place : place + 1]
        elif kind == "double":
            text[place:place] = text[place : place + character]
        else:
            parts = bytes(text).split(b".")
            text = bytearray(b".".join(parts[character % len(parts) :] + parts[: character % len(parts)]))
    return bytes(text)


@pytest.mark.parametrize(
    ("algorithm", "key"), [("HS256", SECRET), ("ES256", EC), ("EdDSA", ED)], ids=["HS256", "ES256", "EdDSA"]
)
def test_only_the_token_itself_is_accepted(algorithm, key):
    ours = judge(algorithm, key)
    good = pyjwt.encode(CLAIMS, key, algorithm, headers={"kid": "k1"}).encode()
    assert ours.judge(good, 1000).claims == CLAIMS

    @settings(max_examples=300, deadline=None)
    @given(st.lists(edit, min_size=1, max_size=4))
    def holds(edits):
        token = edited(good, edits)
        if token == good:
            assert ours.judge(token, 1000).claims == CLAIMS
        else:
            with pytest.raises(Untrusted):
                ours.judge(token, 1000)

    holds()


scalar = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
value = (
    scalar
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.lists(scalar, max_size=2)
    | st.dictionaries(st.text(max_size=3), scalar, max_size=2)
)
headers = st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5u"]), value)
all_claims = st.dictionaries(st.sampled_from(["iss", "aud", "exp", "nbf", "sub", "cnf"]), value)


@settings(max_examples=300, deadline=None)
@given(headers, all_claims)
def test_any_header_and_claims_are_judged_without_an_accident(header, claims):
    """Whatever a token with a right signature says, the verdict is a good token or Untrusted."""
    ours = judge("HS256", SECRET)
    head = {"alg": "HS256", "typ": "JWT"} | header
    signed = ".".join(map(encoded, (head, CLAIMS | claims)))
    mac = pyjwt.get_algorithm_by_name("HS256").sign(signed.encode(), SECRET.encode())
    token = f"{signed}.{pyjwt.utils.base64url_encode(mac).decode()}".encode()
    try:
        found = ours.judge(token, 1000)
    except Untrusted:
        return
    assert (head["alg"], found.claims["aud"] in ("api", ["api"])) == ("HS256", True)
    assert found.claims["iss"] == CLAIMS["iss"]
    assert found.claims["exp"] > 1000


def encoded(part):
    return pyjwt.utils.base64url_encode(json.dumps(part).encode()).decode()
