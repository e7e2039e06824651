import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gproxy.config.types import Secret
from gproxy.identity.key_sets.key_choice import KeyChoice
from gproxy.identity.key_sets.key_source import KeySource
from gproxy.identity.tokens.issuers import Issuer

SECRET = Secret("a secret of thirty-two bytes, or so")
SET = KeySource.parse("https://id.example/keys")
ISSUER = Issuer("https://id.example")


def chosen(*, secret=None, key=None, jwks=None, issuers=()):
    return KeyChoice.of(secret, key, jwks, issuers)


@pytest.fixture
def pem(tmp_path):
    path = tmp_path / "key.pem"
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    path.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


@pytest.mark.parametrize(
    ("options", "sources"),
    [
        ({"jwks": SET}, {"": SET}),
        ({"jwks": SET, "issuers": [Issuer("ci")]}, {"ci": SET}),
        ({"issuers": [ISSUER]}, {"https://id.example": KeySource("issuer", "https://id.example")}),
        (
            {"issuers": [ISSUER, Issuer.parse("ci jwks=file:etc/ci.jwks")]},
            {"https://id.example": KeySource("issuer", "https://id.example"), "ci": KeySource("file", "etc/ci.jwks")},
        ),
        ({"secret": SECRET, "issuers": [ISSUER, Issuer("ci")]}, {}),
    ],
)
def test_the_places_of_key_sets(options, sources):
    assert chosen(**options).sources == sources


def test_the_algorithms_of_auto(pem):
    assert chosen(secret=SECRET).signatures(("auto",)).algorithms == ("HS256",)
    assert chosen(key=pem).signatures(("auto",)).algorithms == ("ES256",)
    assert chosen(jwks=SET).signatures(("auto",)).algorithms == ("RS256", "PS256", "ES256", "ES384", "EdDSA")
    assert chosen(jwks=SET).signatures(("ES512",)).algorithms == ("ES512",)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "secret, key, jwks, issuer: is missing; expected one of secret, key, jwks and issuer"),
        ({"secret": SECRET, "jwks": SET}, "secret, jwks: not both can verify tokens; expected one of secret and jwks"),
        (
            {"secret": SECRET, "issuers": [Issuer.parse("ci jwks=file:x")]},
            "issuer: has jwks= beside secret; expected one of them",
        ),
        ({"jwks": SET, "issuers": [Issuer.parse("ci jwks=file:x")]}, "issuer: has jwks= beside jwks"),
        ({"jwks": SET, "issuers": [ISSUER, Issuer("ci")]}, "jwks: is the key set of a single issuer"),
        ({"issuers": [Issuer("ci")]}, "issuer, jwks: ci is no URL, so no metadata names its keys; expected jwks=URL"),
        (
            {"issuers": [Issuer("id.example")]},
            "issuer, jwks: id.example is no URL, so no metadata names its keys; expected jwks=URL or jwks=file:PATH behind it, or the URL https://id.example",
        ),
        ({"issuers": [Issuer("https://id.example?a=b")]}, "issuer, jwks: https://id.example?a=b is no URL"),
        (
            {"issuers": [Issuer("https://id.example/{tid}")]},
            "issuer, jwks: https://id.example/{tid} stands for many issuers, so no metadata names its keys; expected jwks=",
        ),
    ],
)
def test_wrong_choices(options, problem):
    with pytest.raises(ValueError) as caught:
        chosen(**options)
    assert str(caught.value).startswith(problem)


def test_two_keys(pem):
    with pytest.raises(ValueError, match=r"^secret, key: not both can verify tokens; expected one of secret and key$"):
        chosen(secret=SECRET, key=pem)


@pytest.mark.parametrize("algorithm", ["HS256", "HS512"])
def test_a_key_set_verifies_no_hmac(algorithm):
    with pytest.raises(
        ValueError,
        match=f"^algorithms: {algorithm} needs a secret, and a key set has public keys; remove the line, or name others such as RS256$",
    ):
        chosen(jwks=SET).signatures((algorithm,))


def test_algorithms_that_do_not_suit(pem):
    with pytest.raises(ValueError, match=r"^secret: RS256 does not use it; expected key, with the path of a PEM file$"):
        chosen(secret=SECRET).signatures(("RS256",))
    with pytest.raises(ValueError, match=r"^key: HS256 does not use it; expected secret, with auto"):
        chosen(key=pem).signatures(("HS256",))
    with pytest.raises(ValueError, match=r"^algorithms: auto chooses all of them; expected it alone"):
        chosen(key=pem).signatures(("auto", "ES256"))
