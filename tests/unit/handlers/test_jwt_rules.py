"""The options of `jwt` for which tokens are good, and what becomes of the verdicts."""

import base64
import hashlib
import json

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from gevent import sleep

from gproxy.config.types import Bytes, Seconds, Secret
from gproxy.handlers.any_of import AnyOf
from gproxy.handlers.jwt import JWT
from gproxy.http.errors import HTTPError
from gproxy.http.headers import Headers
from gproxy.http.request import Received, Request
from gproxy.http.tls import TLS, ClientCertificate
from gproxy.identity.sources import Source
from gproxy.identity.tokens.claim_rules import ClaimValue
from gproxy.identity.tokens.issuers import Issuer
from gproxy.identity.tokens.revocations import Revocations
from gproxy.runtime import Runtime
from gproxy.testing import Clock, answer, request

SECRET = "a secret of sixty-four bytes, or a few more, so that HS512 is content"
NOW = 1_000_000
ALICE = {"sub": "alice", "exp": NOW + 60}
DER = b"a certificate"
THUMBPRINT = base64.urlsafe_b64encode(hashlib.sha256(DER).digest()).rstrip(b"=").decode()


def opened(clock=None, **options):
    handler = JWT(**{"secret": Secret(SECRET)} | options)
    handler.open(Runtime(clock=clock or Clock(NOW)))
    return handler


def signed(claims=ALICE, key=SECRET, algorithm="HS256", **header):
    return pyjwt.encode(claims, key, algorithm, headers=header)


def bearing(token, tls=None):
    fields = Headers([("Authorization", f"Bearer {token}")])
    return Request(Received("GET", "/", 1, fields.copy(), "192.0.2.1", tls), fields, "gateway.test", "/", "")


def admits(handler, token, tls=None):
    return handler(bearing(token, tls), answer()).status == 200


def why(handler, token, tls=None):
    """Return why a token is rejected, as the client reads it."""
    with pytest.raises(HTTPError) as caught:
        handler(bearing(token, tls), answer())
    assert (caught.value.status, caught.value.reason) == (401, "auth_invalid")
    return caught.value.detail.removeprefix("the token is rejected: ")


def verifications(handler, monkeypatch):
    """Return a list that grows with each signature that is verified."""
    found = []
    verify = handler.token_judge.signatures.verify
    monkeypatch.setattr(handler.token_judge.signatures, "verify", lambda token: found.append(token) or verify(token))
    return found


@pytest.mark.parametrize(
    ("options", "more", "reason"),
    [
        ({"issuer": (Issuer("us"), Issuer("them"))}, {"iss": "eve"}, "its issuer is not the expected one"),
        ({"audience": ("shop",)}, {"aud": "bank"}, "it is meant for another audience"),
        ({"clients": ("app",)}, {"azp": "eve"}, "it was issued to another client"),
        ({"claims": {"plan": ClaimValue.parse("pro")}}, {"plan": "free"}, "its claim plan is not as demanded"),
        ({"max_lifetime": Seconds(59)}, {}, "its expiry date is too far ahead"),
        ({"max_age": Seconds(60)}, {"iat": NOW - 60}, "it is too old"),
        ({"max_age": Seconds(60)}, {}, "it has no date of issue"),
        ({"typ": "at+jwt"}, {}, "its type is not at+jwt"),
        ({"max_token": Bytes(100)}, {}, "it exceeds the limit of 100 bytes"),
        ({}, {"cnf": {"jkt": "x"}}, "it is bound to a key whose proof is not checked here"),
    ],
)
def test_a_rule_that_rejects(options, more, reason):
    assert why(opened(**options), signed(ALICE | more)) == reason


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ({"issuer": (Issuer("us"), Issuer("them"))}, {"iss": "them"}),
        ({"audience": ("shop", "blog")}, {"aud": ["blog"]}),
        ({"audience": ("*",)}, {"aud": "anyone"}),
        ({"audience": ("*",)}, {}),
        ({"clients": ("app",)}, {"client_id": "app"}),
        ({"claims": {"plan": ClaimValue.parse("pro")}}, {"plan": ["free", "pro"]}),
        ({"max_lifetime": Seconds(60)}, {}),
        ({"max_age": Seconds(60)}, {"iat": NOW - 59}),
        ({"bound": "ignore"}, {"cnf": {"jkt": "x"}}),
        ({"bound": "ignore"}, {"cnf": {"x5t#S256": "x"}}),
    ],
)
def test_a_rule_that_admits(options, more):
    assert admits(opened(**options), signed(ALICE | more))


def test_another_type_of_token_is_rejected():
    for typ in ("id_token+jwt", "logout+jwt", "JOSE"):
        assert why(opened(), signed(typ=typ)) == "its type is not that of an access token"
    for typ in ("JWT", "at+jwt", "application/AT+JWT"):
        assert admits(opened(), signed(typ=typ))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"audience": ("*", "shop")}, "audience: * admits any; expected it alone, or values without it"),
        ({"algorithms": ("auto", "HS256")}, "algorithms: auto chooses all of them; expected it alone"),
        ({"typ": "*"}, "typ: '*' is not a type; expected one such as at+jwt"),
        ({"typ": ""}, "typ: '' is not a type"),
        ({"typ": "a/b/c"}, "typ: 'a/b/c' is not a type"),
        ({"max_lifetime": Seconds(0)}, "max_lifetime: admits no token; expected more than 0s"),
        ({"max_age": Seconds(0)}, "max_age: admits no token; expected more than 0s"),
        ({"max_token": Bytes(0)}, "max_token: admits no token; expected a size such as 8KiB"),
        ({"resource": "api.example"}, "resource: 'api.example' is no URL of a resource"),
        (
            {"resource": "https://api.example", "sources": (Source.parse("cookie:t"),)},
            "resource: its clients send tokens in Authorization; expected bearer in sources",
        ),
    ],
)
def test_wrong_options(options, problem):
    with pytest.raises(ValueError) as caught:
        JWT(**{"secret": Secret(SECRET)} | options)
    assert str(caught.value).startswith(problem)


def pem(tmp_path, private):
    path = tmp_path / "key.pem"
    path.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


@pytest.mark.parametrize(
    ("private", "algorithm"),
    [
        (rsa.generate_private_key(65537, 2048), "RS256"),
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    ],
)
def test_auto_is_the_one_algorithm_of_the_key(tmp_path, private, algorithm):
    handler = JWT(key=pem(tmp_path, private))
    handler.open(Runtime(clock=Clock(NOW)))
    assert handler.token_judge.signatures.algorithms == (algorithm,)
    assert admits(handler, signed(key=private, algorithm=algorithm))


def test_auto_with_keys_that_need_a_name(tmp_path):
    with pytest.raises(ValueError, match=r"^key: it is for ES512, which is slow; expected algorithms = ES512"):
        JWT(key=pem(tmp_path, ec.generate_private_key(ec.SECP521R1())))
    with pytest.raises(ValueError, match=r"^key: it is invalid; a key for ES256 is expected"):
        JWT(key=pem(tmp_path, ec.generate_private_key(ec.SECP256K1())))


def test_a_bad_token_that_comes_again_costs_no_signature(monkeypatch):
    clock = Clock(NOW)
    handler = opened(clock)
    verified = verifications(handler, monkeypatch)
    forged = signed(key="x" * 64)
    for _ in range(5):
        assert why(handler, forged) == "its signature is wrong"
    assert len(verified) == 1
    clock.advance(10)
    assert why(handler, forged) == "its signature is wrong"
    assert len(verified) == 2


def test_a_token_becomes_valid():
    clock = Clock(NOW)
    handler = opened(clock, max_lifetime=Seconds(600))
    early, long = signed(ALICE | {"nbf": NOW + 1}), signed(ALICE | {"exp": NOW + 601})
    assert why(handler, early) == "it is not valid yet"
    assert why(handler, long) == "its expiry date is too far ahead"
    clock.advance(1)
    assert admits(handler, early)
    assert admits(handler, long)


def test_a_kept_token_ages_and_has_its_leeway(monkeypatch):
    clock = Clock(NOW)
    handler = opened(clock, max_age=Seconds(30), leeway=Seconds(5))
    verified = verifications(handler, monkeypatch)
    aging, expiring = signed(ALICE | {"iat": NOW}), signed({"exp": NOW + 10, "iat": NOW})
    for _ in range(3):
        assert admits(handler, aging)
        assert admits(handler, expiring)
        clock.advance(4.9)
    assert admits(handler, expiring)
    assert len(verified) == 2
    clock.advance(0.4)
    assert why(handler, expiring) == "it has expired"
    clock.advance(15)
    assert why(handler, aging) == "it is too old"


@pytest.mark.parametrize(
    ("options", "expires"), [({}, 60), ({"leeway": Seconds(5)}, 65), ({"max_age": Seconds(30)}, 30)]
)
def test_the_identity_ends_when_its_token_is_rejected(options, expires):
    asked = bearing(signed(ALICE | {"iat": NOW}))
    opened(**options)(asked, answer())
    assert asked.identity.expires == NOW + expires


def test_a_token_bound_to_a_certificate_is_good_only_on_its_connections():
    handler = opened()
    token = signed(ALICE | {"cnf": {"x5t#S256": THUMBPRINT}})
    right, other, none = (TLS("", "", "", der and ClientCertificate(der)) for der in (DER, b"another", None))
    for _ in range(3):
        assert admits(handler, token, right)
        assert why(handler, token, other) == "it is bound to another client certificate"
        for tls in (none, None):
            assert why(handler, token, tls) == "it is bound to a client certificate, and the connection has none"
    assert len(handler._recent) == 0


def test_a_revocation_ends_kept_tokens_at_once():
    handler = opened()
    tokens = [signed(ALICE | {"jti": jti}, kid=kid) for jti, kid in (("a", "1"), ("b", "1"), ("c", "2"))]
    assert all(admits(handler, token) for token in tokens * 2)
    handler._revoke(Revocations(tokens=frozenset("a"), keys=frozenset("2")))
    assert why(handler, tokens[0]) == why(handler, tokens[2]) == "it is revoked"
    assert admits(handler, tokens[1])
    assert len(handler._cache) == 1
    handler._revoke(Revocations())
    assert all(admits(handler, token) for token in tokens)


def test_the_file_of_revocations(tmp_path):
    path = tmp_path / "revoked"
    path.write_text("sub alice\n")
    handler = opened(revoked=path)
    assert why(handler, signed()) == "it is revoked"
    handler.close()
    sleep(0)  # the watch of the file ends
    path.write_text("alice\n")
    with pytest.raises(ValueError, match=rf"^revoked: {path}:1: expected jti VALUE"):
        JWT(secret=Secret(SECRET), revoked=path)
    with pytest.raises(ValueError, match=r"^revoked: .*nowhere"):
        JWT(secret=Secret(SECRET), revoked=tmp_path / "nowhere")


RESOURCE = "https://api.example/mcp"
METADATA = "https://api.example/.well-known/oauth-protected-resource/mcp"


def test_the_metadata_of_the_resource():
    handler = opened(resource=RESOURCE, issuer=(Issuer("https://id.example"), Issuer("ci")), scope=("read",))
    behind = answer()
    found = handler(request("GET", "/.well-known/oauth-protected-resource/mcp"), behind)
    assert (found.status, found.headers["Content-Type"], behind.requests) == (200, "application/json", [])
    assert json.loads(found.body) == {
        "resource": RESOURCE,
        "authorization_servers": ["https://id.example"],
        "scopes_supported": ["read"],
        "bearer_methods_supported": ["header"],
    }


def test_each_challenge_names_the_metadata_of_the_resource():
    handler = opened(resource=RESOURCE, role="admin")
    for asked, status in ((request(), 401), (bearing("x"), 401), (bearing(signed()), 403)):
        with pytest.raises(HTTPError) as caught:
            handler(asked, answer())
        assert caught.value.status == status
        assert f'resource_metadata="{METADATA}"' in caught.value.headers["WWW-Authenticate"]
    with pytest.raises(HTTPError) as caught:
        opened()(request(), answer())
    assert "resource_metadata" not in caught.value.headers["WWW-Authenticate"]


def test_a_member_of_any_of_has_its_metadata_too():
    staff = opened(resource=RESOURCE)
    chosen = AnyOf(of=("staff", "guests"), members=(staff, opened(sources=(Source.parse("header:X-Token"),))))
    found = chosen(request("GET", "/.well-known/oauth-protected-resource/mcp"), answer())
    assert (found.status, json.loads(found.body)["resource"]) == (200, RESOURCE)
    with pytest.raises(HTTPError) as caught:
        chosen(request(), answer())
    assert f'resource_metadata="{METADATA}"' in caught.value.headers.all("WWW-Authenticate")[0]


@pytest.mark.parametrize(
    ("token", "issuers", "is_recognised"),
    [
        (signed(ALICE | {"iss": "us"}), ("us", "them"), True),
        (signed(ALICE | {"iss": "us"}, "x" * 64), ("us",), True),
        (signed(ALICE | {"iss": "eve"}), ("us",), False),
        (signed(), ("us",), False),
        (signed(ALICE | {"iss": "eve"}), (), True),
        ("a.b.c", (), True),
        ("a.b.c", ("us",), False),
        ("opaque", (), False),
        ("a.b", (), False),
        ("a.b.c.d", (), False),
    ],
)
def test_which_tokens_a_member_of_any_of_recognises(token, issuers, is_recognised):
    handler = opened(issuer=tuple(map(Issuer, issuers)))
    assert handler.recognises(bearing(token)) is is_recognised


def test_a_known_token_is_recognised_without_a_look_into_it(monkeypatch):
    handler, asked = opened(issuer=(Issuer("us"),)), bearing(signed(ALICE | {"iss": "us"}))
    for _ in range(2):
        handler(asked, answer())
    monkeypatch.setattr(handler.token_judge, "is_from_issuer", lambda token: pytest.fail("it was read again"))
    assert handler.recognises(asked)


def test_a_request_without_a_token_is_not_recognised():
    assert not opened().recognises(request())


@pytest.mark.parametrize(
    "options",
    [
        {"issuer": (Issuer("us"),), "audience": ("shop",), "clients": ("app",)},
        {"typ": "at+jwt", "issuer": (Issuer("us"),), "audience": ("shop",)},
        {"claims": {"plan": ClaimValue.parse("pro"), "org.id": ClaimValue.parse("*")}},
        {"max_lifetime": Seconds(60), "max_age": Seconds(60)},
        {"audience": ("*",)},
    ],
)
def test_signing_adds_the_required_claims(options):
    for now in (NOW, NOW + 0.5):
        handler = opened(Clock(now), **options)
        assert admits(handler, handler.sign({"sub": "alice", "org": {"id": 7}}, 60, now))


@pytest.mark.parametrize(
    ("options", "claims", "reason"),
    [
        ({"max_lifetime": Seconds(30)}, {}, "its expiry date is too far ahead"),
        ({"clients": ("app",)}, {"client_id": "eve"}, "it was issued to another client"),
        ({"claims": {"plan": ClaimValue.parse("/p.*/")}}, {}, "its claim plan is not as demanded"),
        ({}, {"cnf": {"jkt": "x"}}, "it is bound to a key whose proof is not checked here"),
    ],
)
def test_no_token_is_signed_that_would_be_rejected(options, claims, reason):
    with pytest.raises(ValueError, match=f"^such a token would be rejected: {reason}$"):
        opened(**options).sign({"sub": "alice"} | claims, 60, NOW)
