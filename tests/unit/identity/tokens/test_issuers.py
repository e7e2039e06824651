import pytest

from gproxy.identity.errors import Untrusted
from gproxy.identity.tokens.issuers import Issuer, Issuers

TENANTS = "https://login.example/{tid}/v2.0"


def issuers(*texts):
    return Issuers(Issuer.parse(text) for text in texts)


@pytest.mark.parametrize(
    ("text", "name", "jwks"),
    [
        ("https://id.example", "https://id.example", ""),
        ("ci jwks=file:etc/ci.jwks", "ci", "file:etc/ci.jwks"),
        ("https://b.example  jwks=https://b.example/keys?v=1", "https://b.example", "https://b.example/keys?v=1"),
        (f"{TENANTS} jwks=https://login.example/keys", TENANTS, "https://login.example/keys"),
    ],
)
def test_an_issuer_of_the_settings(text, name, jwks):
    issuer = Issuer.parse(text)
    assert (issuer.name, str(issuer.jwks or "")) == (name, jwks)
    assert Issuer.parse(str(issuer)) == issuer


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ci keys=file:x", "'keys=file:x' is not jwks=URL or jwks=file:PATH"),
        ("My Company", "'Company' is not jwks=URL or jwks=file:PATH"),
        ("ci jwks=etc/ci.jwks", "it is not a URL; expected one such as https://id.example.com"),
        ("ci jwks=", "it is not a URL"),
        ("ci jwks=file:a jwks=file:b", "jwks is given twice"),
        (
            "https://id.example/.well-known/openid-configuration",
            "discovery adds /.well-known/… itself; write the issuer",
        ),
        ("https://id.example/{}/ jwks=file:a", "a place in an issuer is written {CLAIM}"),
        ("https://id.example/{a b", "'b' is not jwks=URL"),
        ("https://id.example/{tid jwks=file:a", "a brace in an issuer encloses the name of a claim"),
    ],
)
def test_wrong_issuers(text, problem):
    with pytest.raises(ValueError) as caught:
        Issuer.parse(text)
    assert str(caught.value).startswith(problem)


def test_the_issuer_of_a_token_selects_byte_by_byte():
    ours = issuers("https://a.example", "https://b.example")
    assert ours.of({"iss": "https://b.example"}).name == "https://b.example"
    for iss in ("https://b.example/", "https://B.example", "", None, ["https://b.example"], 7):
        with pytest.raises(Untrusted, match="its issuer is not the expected one"):
            ours.of({"iss": iss})


def test_tenants():
    ours = issuers(f"{TENANTS} jwks=file:x")
    tenants = ours.of({"iss": "https://login.example/t-1/v2.0", "tid": "t-1"})
    assert tenants.name == TENANTS


@pytest.mark.parametrize(
    ("iss", "tid"),
    [
        ("https://login.example/t-1/v2.0", "t-2"),
        ("https://login.example/t-1/v2.0", None),
        ("https://login.example/7/v2.0", 7),
        ("https://login.example//v2.0", ""),
        ("https://login.example/../v2.0", ".."),
        ("https://login.example/a/b/v2.0", "a/b"),
        ("https://login.example/a?/v2.0", "a?"),
        ("https://login.example/a#/v2.0", "a#"),
        ("https://login.example/a%2Fb/v2.0", "a%2Fb"),
        ("https://login.example/a\n/v2.0", "a\n"),
        ("https://login.example/é/v2.0", "é"),
        ("https://login.example/{tid}/v2.0", "{tid}"),
        (TENANTS, None),
    ],
)
def test_a_token_of_another_tenant(iss, tid):
    with pytest.raises(Untrusted, match="its issuer is not the expected one"):
        issuers(f"{TENANTS} jwks=file:x").of({"iss": iss} | ({"tid": tid} if tid is not None else {}))


def test_no_issuers():
    assert not issuers()
    assert issuers("a")


def test_an_issuer_is_given_once():
    with pytest.raises(ValueError, match=r"^b is given twice$"):
        issuers("a", "b", "b jwks=file:x")
