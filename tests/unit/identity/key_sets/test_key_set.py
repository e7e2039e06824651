"""Key sets: which keys are usable, for which algorithm, and what makes a whole set unusable."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from gproxy.identity.key_sets.key_set import LARGEST, KeySet
from gproxy.testing.issuer import SigningKey

AUTO = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
EC = SigningKey.new("ec", "ES256").public
OTHER = SigningKey.new("ec", "ES256").public
RSA = SigningKey.new("rsa", "RS256").public


def number(value):
    raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def without(jwk, *names, **changes):
    return {name: value for name, value in jwk.items() if name not in names} | changes


def parse(*jwks, previous=()):
    return KeySet.parse(json.dumps({"keys": jwks}).encode(), previous)


def algorithms_of(*jwks, listed=AUTO):
    return sorted(key.algorithm for key in parse(*jwks).for_algorithms(listed).keys)


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS512", "ES256", "ES384", "ES512", "EdDSA"])
def test_a_key_verifies_with_its_one_algorithm(algorithm):
    key = SigningKey.new("k", algorithm)
    usable = parse(key.public).for_algorithms((algorithm,))
    (found,) = usable.find("k", algorithm)
    from jwt import PyJWS

    signature = PyJWS().get_algorithm_by_name(algorithm).sign(b"signed", key.private)
    assert found.verify(b"signed", signature)
    assert not found.verify(b"signet", signature)
    assert not found.verify(b"signed", b"")
    assert not found.verify(b"signed", signature[:-1])


@pytest.mark.parametrize(
    ("jwk", "reason"),
    [
        (without(EC, use="enc"), "is not for signatures"),
        (without(EC, use=["sig"]), "is not for signatures"),
        (without(EC, key_ops=["sign"]), "is not for verification"),
        (without(EC, key_ops="verify"), "is not for verification"),
        (without(EC, d="AQAB"), "is a private key"),
        (without(RSA, p="AQAB"), "is a private key"),
        ({"kty": "oct", "k": "AAAA", "alg": "HS256"}, "is a shared secret"),
        ({"kty": "oct", "alg": "HS256"}, "is a shared secret"),
        (without(EC, k="AAAA"), "is a private key"),
        (without(EC, alg="ES384"), "not for its type and curve"),
        (without(EC, alg="RS256"), "not for its type and curve"),
        (without(EC, alg="HS256"), "not for its type and curve"),
        (without(EC, alg="none"), "not for its type and curve"),
        (without(EC, alg=None), "not for its type and curve"),
        (without(RSA, alg="ES256"), "not for its type and curve"),
        (without(RSA, alg="HS256"), "not for its type and curve"),
        (without(RSA, alg="RSA-OAEP"), "not for its type and curve"),
        (without(EC, crv="secp256k1", alg="ES256K"), "unsupported type or curve"),
        (without(EC, kty="RSA"), "not for its type and curve"),
        (without(EC, kty=["EC"]), "unsupported type or curve"),
        (without(EC, "kty"), "unsupported type or curve"),
        ({"kty": "OKP", "crv": "Ed448", "x": "AAAA"}, "unsupported type or curve"),
        ({"kty": "OKP", "crv": "X25519", "x": "AAAA"}, "unsupported type or curve"),
        (without(EC, "y"), "is malformed"),
        (without(EC, x=number(1)), "is malformed"),
        (without(EC, x=EC["y"], y=EC["x"]), "is malformed"),
        (without(EC, x=7), "is malformed"),
        (without(RSA, "n"), "is malformed"),
        (without(RSA, n=number((1 << 2046) + 1)), "has 2047 bits"),
        (without(RSA, n=number((1 << 8192) + 1)), "has 8193 bits"),
        (without(EC, kid=7), "no text of at most 256"),
        (without(EC, kid="k" * 257), "no text of at most 256"),
        (without(EC, kid=None), "no text of at most 256"),
        ("EC", "is no object"),
    ],
)  # fmt: skip
def test_an_unusable_key_is_ignored_and_a_set_of_such_keys_is_rejected(jwk, reason):
    with pytest.raises(ValueError, match=f"no usable key; key .*{reason}"):
        parse(jwk)
    assert algorithms_of(jwk, without(OTHER, kid="good")) == ["ES256"]


@pytest.mark.parametrize("exponent", [1, 2, 4, 65536])
def test_a_weak_exponent_is_rejected(exponent):
    with pytest.raises(ValueError, match=r"is malformed|weak exponent"):
        parse(without(RSA, e=number(exponent)))


@pytest.mark.parametrize("exponent", [2**32 + 1, 2**64 + 1, 2**256 + 1, 2**2047 + 1])
def test_an_exponent_that_makes_verification_slow_is_rejected(exponent):
    with pytest.raises(ValueError, match=r"has an exponent of \d+ bits; expected at most 32"):
        parse(without(RSA, e=number(exponent), n=number(2**2048 - 1)))


@pytest.mark.parametrize("modulus", [2**2048 - 2, 2**2047])
def test_an_even_modulus_is_rejected(modulus):
    with pytest.raises(ValueError, match="is malformed"):
        parse(without(RSA, n=number(modulus)))


def test_the_exponent_3_is_good():
    public = rsa.generate_private_key(3, 2048).public_key().public_numbers()
    assert algorithms_of({"kty": "RSA", "n": number(public.n), "e": number(3)}) == ["RS256"]


def test_the_largest_exponent_is_good():
    assert algorithms_of(without(RSA, e=number(2**32 - 1))) == ["RS256"]


@pytest.mark.parametrize(
    "jwk",
    [without(EC, "use"), without(EC, "use", key_ops=["sign", "verify"]), without(EC, "alg"), without(EC, more=[1])],
)
def test_members_may_be_absent_or_unknown(jwk):
    assert algorithms_of(jwk) == ["ES256"]


@pytest.mark.parametrize(
    ("listed", "algorithms"),
    [
        (AUTO, ["RS256"]),
        (("PS256", "ES256"), ["PS256"]),
        (("PS256", "RS256"), ["RS256"]),
        (("RS512", "PS512"), []),
        (("RS512", "PS256"), ["PS256"]),
    ],
)
def test_an_rsa_key_without_an_algorithm_is_for_one_all_the_same(listed, algorithms):
    assert algorithms_of(without(RSA, "alg"), listed=listed) == algorithms


def test_a_key_is_for_its_own_algorithm_only():
    assert algorithms_of(without(RSA, alg="PS256")) == ["PS256"]
    assert algorithms_of(without(RSA, alg="PS256"), listed=("RS256",)) == []
    usable = parse(RSA).for_algorithms(AUTO)
    assert usable.find("rsa", "PS256") == ()
    assert usable.knows("rsa")
    assert not usable.knows("other")


def test_the_other_name_of_eddsa():
    key = SigningKey.new("k", "EdDSA").public
    assert algorithms_of(without(key, alg="Ed25519")) == algorithms_of(without(key, "alg")) == ["EdDSA"]


def test_of_two_keys_with_one_id_neither_is_usable():
    good = without(EC, kid="good")
    usable = parse(EC, OTHER, good).for_algorithms(AUTO)
    assert usable.find("ec", "ES256") == ()
    assert len(usable.find("good", "ES256")) == 1
    assert [key.kid for key in usable.find(None, "ES256")] == ["good"]


def test_two_keys_with_one_id_and_different_algorithms_are_usable():
    usable = parse(EC, without(RSA, kid="ec")).for_algorithms(AUTO)
    assert len(usable.find("ec", "ES256")) == len(usable.find("ec", "RS256")) == 1


def test_an_explicit_and_an_implied_key_with_one_id_are_ambiguous():
    other = without(SigningKey.new("rsa", "RS256").public, "alg")
    assert parse(RSA, other).for_algorithms(AUTO).find("rsa", "RS256") == ()
    assert len(parse(without(RSA, alg="PS256"), other).for_algorithms(AUTO).find("rsa", "RS256")) == 1


def test_the_same_key_twice_is_one_key():
    assert len(parse(EC, EC).for_algorithms(AUTO).find("ec", "ES256")) == 1


def test_a_token_without_an_id_tries_four_keys():
    keys = [SigningKey.new(f"k{n}", "ES256").public for n in range(6)]
    usable = parse(without(RSA, "kid"), *(without(key, "kid") if n % 2 else key for n, key in enumerate(keys)))
    found = usable.for_algorithms(AUTO).find(None, "ES256")
    assert [key.kid for key in found] == ["k0", None, "k2", None]
    assert usable.for_algorithms(AUTO).find(None, "EdDSA") == ()


def test_an_unchanged_key_is_the_same_object():
    old = parse(EC, RSA)
    new = parse(without(RSA, use="sig"), dict(reversed(EC.items())), without(OTHER, kid="new"), previous=old.keys)
    assert set(old.keys) <= set(new.keys)
    changed = parse(OTHER, without(RSA, "use"), previous=old.keys)
    assert set(old.keys).isdisjoint(changed.keys)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not strict JSON"),
        (b"<html>", "not strict JSON"),
        (b'{"keys": [], "keys": []}', "an object has a name twice"),
        (b"[]", "it is no object"),
        (b"{}", "no list of keys"),
        (b'{"keys": {}}', "no list of keys"),
        (b'{"keys": []}', "no usable key$"),
        (b'{"keys": [1, null, [], "x"]}', "no usable key; key None is no object"),
        (b'{"keys": [' + b"1," * 100 + b"1]}", "has 101 keys; expected at most 100"),
        (b'{"keys": [' + b" " * LARGEST + b"]}", "exceeds 262144 bytes"),
    ],
)
def test_a_whole_set_is_rejected(data, reason):
    with pytest.raises(ValueError, match=reason):
        KeySet.parse(data)


def test_a_hundred_keys_are_accepted():
    assert len(parse(*(without(EC, kid=f"k{n}") for n in range(100))).keys) == 100


def test_a_reason_is_short_and_has_no_control_characters():
    with pytest.raises(ValueError) as caught:
        parse(*(without(EC, kid="\x1b[31m\n" + "x" * 200, use="enc") for _ in range(50)))
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20),
    st.sampled_from(["AQAB", "=", "-_-_", "A" * 10_000, "P-256", "EC", "RSA", "OKP", "RS256", "sig", ["verify"], [[]], {}]),
)  # fmt: skip
MEMBERS = st.sampled_from([*RSA, *EC, "d", "key_ops", "x5c"])


@given(st.sampled_from([EC, RSA]), st.dictionaries(MEMBERS, VALUES, max_size=3), st.sets(MEMBERS, max_size=2))
def test_any_key_is_either_usable_or_rejected(jwk, changes, gone):
    try:
        usable = parse(without(jwk, *gone, **changes)).for_algorithms(AUTO)
    except ValueError:
        return
    assert not any(key.verify(b"signed", b"signature") for key in usable.keys)
