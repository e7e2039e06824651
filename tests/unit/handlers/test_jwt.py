import base64
import hashlib
import hmac
import json
from pathlib import Path

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gproxy.config.types import Seconds, Secret
from gproxy.handlers.jwt import JWT
from gproxy.http.errors import HTTPError
from gproxy.identity.tokens.issuers import Issuer
from gproxy.runtime import Runtime
from gproxy.testing import Clock, answer, request

SECRET = "a secret of sixty-four bytes, or a few more, so that HS512 is content"
FORWARD = {"sub": "X-User-ID", "role": "X-User-Role"}
NOW = 1_000_000
ALICE = {"sub": "alice", "role": "admin", "exp": NOW + 60}

RSA = rsa.generate_private_key(65537, 2048)
WEAK_RSA = rsa.generate_private_key(65537, 1024)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def opened(clock=None, **options):
    handler = JWT(**{"secret": Secret(SECRET), "forward": FORWARD} | options)
    handler.open(Runtime(clock=clock or Clock(NOW)))
    return handler


def bearing(token, more=()):
    return request(headers=[("Authorization", f"Bearer {token}"), *more])


def signed(claims=ALICE, key=SECRET, algorithm="HS256", **header):
    return pyjwt.encode(claims, key, algorithm, headers=header)


def refused(handler, asked):
    behind = answer()
    with pytest.raises(HTTPError) as caught:
        handler(asked, behind)
    assert behind.requests == []
    return caught.value


def is_invalid(error):
    challenge = error.headers["WWW-Authenticate"]
    return (error.status, error.reason) == (401, "auth_invalid") and challenge.startswith(
        'Bearer realm="gproxy", error="invalid_token", error_description="'
    )


def test_claims_are_forwarded_to_the_backend():
    behind = answer()
    asked = bearing(signed(), [("X-User-ID", "root"), ("x-user-id", "root"), ("X-User-Role", "god")])
    assert opened()(asked, behind).status == 200
    assert asked.headers.all("X-User-ID") == ["alice"]
    assert asked.headers.all("X-User-Role") == ["admin"]
    assert asked.headers["Authorization"].startswith("Bearer ")
    assert asked.user == "alice"
    assert asked.context["claims"] == ALICE
    assert behind.requests == [asked]


def test_an_absent_claim_removes_the_header():
    asked = bearing(signed({"sub": "bob", "exp": NOW + 60}), [("X-User-Role", "admin")])
    opened()(asked, answer())
    assert "x-user-role" not in asked.headers


def test_no_credentials_no_error_code():
    error = refused(opened(), request())
    assert (error.status, error.reason) == (401, "auth_missing")
    assert error.headers.items() == [("WWW-Authenticate", 'Bearer realm="gproxy"')]


@pytest.mark.parametrize("value", ["Basic YTpi", "bearertoken", "Token abc", ""])
def test_another_scheme_is_no_credentials(value):
    assert refused(opened(), request(headers={"Authorization": value})).reason == "auth_missing"


@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer ", "bearer a b", "Bearer a, Bearer b", 'Bearer "a"', "Bearer a\xe9", "Bearer ="]
)
def test_malformed_credentials(value):
    assert is_invalid(refused(opened(), request(headers={"Authorization": value})))


def test_two_authorization_fields_are_a_bad_request():
    error = refused(opened(), bearing(signed(), [("Authorization", f"Bearer {signed()}")]))
    assert error.status == 400
    assert 'error="invalid_request"' in error.headers["WWW-Authenticate"]


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer  "])
def test_the_scheme_has_no_case(scheme):
    assert opened()(request(headers={"Authorization": f"{scheme} {signed()}"}), answer()).status == 200


def unsigned(header, claims=ALICE, signature=""):
    def encoded(part):
        return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")

    return f"{encoded(header)}.{encoded(claims)}.{signature}"


def hs256(header, claims=ALICE):
    body = unsigned(header, claims)[:-1]
    mac = hmac.digest(SECRET.encode(), body.encode(), hashlib.sha256)
    return f"{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("abc", "it is malformed"),
        ("a.b.c", "it is malformed"),
        ("..", "it is malformed"),
        (signed(key="x" * 64), "its signature is wrong"),
        (signed()[:-3], "its signature is wrong"),
        (signed(algorithm="HS512"), "its algorithm is not accepted here"),
        (unsigned({"alg": "none"}), "its algorithm is not accepted here"),
        (unsigned({"alg": "NONE"}), "its algorithm is not accepted here"),
        (unsigned({"alg": ["HS256"]}), "its algorithm is not accepted here"),
        (unsigned({}), "its algorithm is not accepted here"),
        (unsigned(["HS256"]), "it is malformed"),
        (hs256({"alg": "HS256", "crit": ["exp"], "exp": 1}), "it is malformed"),
        (hs256({"alg": "HS256", "crit": ["b64"], "b64": True}), "it has a critical extension"),
        (hs256({"alg": "HS256", "b64": False}), "it is malformed"),
        (hs256({"alg": "HS256", "b64": True}), "it is malformed"),
        (hs256({"alg": "HS256", "kid": 7}), "it is malformed"),
        (hs256({"alg": "HS256", "x": float("nan")}), "it is malformed"),
        (hs256({"alg": "HS256"}, ALICE | {"x": float("inf")}), "it is malformed"),
        (hs256({"alg": "HS256"}) + "=", "it is malformed"),
        (hs256({"alg": "HS256"}, ["exp"]), "it is malformed"),
        (signed(ALICE | {"exp": NOW}), "it has expired"),
        (signed({"sub": "alice"}), "it has no expiry date"),
        (signed(ALICE | {"nbf": NOW + 1}), "it is not valid yet"),
        (signed(ALICE | {"sub": 'a\r\nX-Admin: "1"'}), "its claim sub cannot be sent in a header"),
        (signed(ALICE | {"role": {"a": 1}}), "its claim role cannot be sent in a header"),
    ],
)
def test_tokens_that_are_rejected(token, why):
    error = refused(opened(), bearing(token))
    assert is_invalid(error)
    assert error.detail == f"the token is rejected: {why}"
    assert error.headers["WWW-Authenticate"].endswith(f'error_description="the token is rejected: {why}"')


def test_a_token_of_another_issuer_or_audience():
    handler = opened(issuer=(Issuer("us"),), audience=("shop", "blog"))
    ours = ALICE | {"iss": "us", "aud": ["blog", "other"]}
    assert handler(bearing(signed(ours)), answer()).status == 200
    assert is_invalid(refused(handler, bearing(signed(ours | {"iss": "them"}))))
    assert is_invalid(refused(handler, bearing(signed(ours | {"aud": "bank"}))))


def test_keys_in_the_token_are_ignored():
    own = {"kty": "oct", "k": base64.urlsafe_b64encode(b"x" * 40).decode()}
    token = signed(key="x" * 64, jwk=own, jku="https://evil.example/keys", x5u="https://evil.example/cert")
    assert is_invalid(refused(opened(), bearing(token)))


def test_a_long_token_is_rejected_unread():
    token = signed(ALICE | {"more": "x" * 8192})
    assert refused(opened(), bearing(token)).detail == "the token is rejected: it exceeds the limit of 8192 bytes"


def test_the_role():
    handler = opened(role="admin")
    assert handler(bearing(signed()), answer()).status == 200
    assert handler(bearing(signed({"roles": ["dev", "admin"], "exp": NOW + 60})), answer()).status == 200
    for _ in range(2):  # the second time from memory
        error = refused(handler, bearing(signed(ALICE | {"role": "dev"})))
        assert (error.status, error.reason) == (403, "auth_scope")
        assert 'error="insufficient_scope"' in error.headers["WWW-Authenticate"]


def test_a_verified_token_is_not_verified_again_until_it_expires(monkeypatch):
    clock = Clock(NOW)
    handler = opened(clock)
    verified = []
    verify = handler._signatures.verify
    monkeypatch.setattr(handler._signatures, "verify", lambda token: verified.append(token) or verify(token))
    token = signed()
    for _ in range(6):
        asked = bearing(token)
        handler(asked, answer())
        assert asked.headers["X-User-ID"] == "alice"
        clock.advance(9.5)
    assert len(verified) == 1
    clock.advance(3)
    assert refused(handler, bearing(token)).detail == "the token is rejected: it has expired"


def test_a_rejected_token_is_not_verified_again_for_ten_seconds(monkeypatch):
    clock = Clock(NOW)
    handler = opened(clock)
    token, verified = signed(key="x" * 64), []
    verify = handler._signatures.verify
    monkeypatch.setattr(handler._signatures, "verify", lambda token: (verified.append(token), verify(token)))
    for _ in range(3):
        assert is_invalid(refused(handler, bearing(token)))
        clock.advance(4)
    assert len(verified) == 1
    refused(handler, bearing(token))
    assert len(verified) == 2


def test_a_token_that_is_not_valid_yet_is_judged_each_time():
    clock = Clock(NOW)
    handler = opened(clock)
    token = signed(ALICE | {"nbf": NOW + 1})
    assert refused(handler, bearing(token)).detail == "the token is rejected: it is not valid yet"
    clock.advance(1)
    assert handler(bearing(token), answer()).status == 200


def test_rejected_tokens_push_no_good_one_out():
    handler = opened(cache=3)
    good = signed()
    handler(bearing(good), answer())
    kept = dict(handler._cache._judged)
    for number in range(20):
        refused(handler, bearing(signed(ALICE | {"n": number}, key="x" * 64)))
    assert dict(handler._cache._judged) == kept


@pytest.mark.parametrize(
    "claims", [{"exp": NOW}, {"nbf": NOW + 1}, {"iss": "them"}, {"aud": "bank"}, {"exp": None}], ids=str
)
def test_a_token_with_wrong_claims_costs_no_signature(claims, monkeypatch):
    handler = opened(issuer=(Issuer("us"),), audience=("shop",))
    ours = ALICE | {"iss": "us", "aud": "shop"}
    assert handler(bearing(signed(ours)), answer()).status == 200
    monkeypatch.setattr(handler._signatures, "verify", lambda token: pytest.fail(f"{token} was verified"))
    assert is_invalid(refused(handler, bearing(signed(ours | claims))))


def test_a_token_that_names_a_claim_twice():
    body = unsigned({"alg": "HS256"}).partition(".")[0]
    twice = base64.urlsafe_b64encode(b'{"sub":"alice","sub":"root","exp":%d}' % (NOW + 60)).decode().rstrip("=")
    mac = base64.urlsafe_b64encode(hmac.digest(SECRET.encode(), f"{body}.{twice}".encode(), hashlib.sha256))
    token = f"{body}.{twice}.{mac.decode().rstrip('=')}"
    assert refused(opened(), bearing(token)).detail == "the token is rejected: it is malformed"


def test_texts_of_tokens_are_dropped_after_a_minute_without_requests():
    clock = Clock(NOW)
    handler = opened(clock)
    alice, bob = (bearing(signed({"sub": sub, "exp": NOW + 600})) for sub in ("alice", "bob"))
    for asked in (alice, alice, bob, bob):
        handler(asked, answer())
    assert len(handler._recent) == 2
    for _ in range(7):
        clock.advance(10)
        handler(bob, answer())
    assert list(handler._recent) == [bob.headers["Authorization"]]
    alice.user = ""
    handler(alice, answer())
    assert alice.user == "alice"


def test_the_cache_is_bounded_and_holds_no_token():
    handler = opened(cache=3)
    for number in range(5):
        handler(bearing(signed(ALICE | {"n": number})), answer())
    assert len(handler._cache) == 3
    assert all(isinstance(key, bytes) and len(key) == 32 for key in handler._cache._judged)
    assert opened(cache=0)(bearing(signed()), answer()).status == 200


def test_no_handler_can_change_cached_claims():
    asked = bearing(signed())
    opened()(asked, answer())
    with pytest.raises(TypeError):
        asked.context["claims"]["sub"] = "root"


def test_leeway():
    clock = Clock(NOW + 65)
    assert opened(clock, leeway=Seconds(10.0))(bearing(signed()), answer()).status == 200
    clock.advance(5)
    assert is_invalid(refused(opened(clock, leeway=Seconds(10.0)), bearing(signed())))


def pem(tmp_path, private):
    path = tmp_path / "key.pem"
    path.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


@pytest.mark.parametrize(
    ("private", "algorithm"),
    [(RSA, "RS256"), (RSA, "RS512"), (RSA, "PS256"), (EC, "ES256"), (ED, "EdDSA")],
)
def test_public_keys(tmp_path, private, algorithm):
    handler = opened(secret=None, algorithms=(algorithm,), key=pem(tmp_path, private))
    asked = bearing(signed(key=private, algorithm=algorithm))
    handler(asked, answer())
    assert asked.user == "alice"
    other = {"RS": RSA, "PS": RSA, "ES": EC, "Ed": ED}[algorithm[:2]]
    wrong = signed(key=other, algorithm=algorithm)
    assert is_invalid(refused(handler, bearing(wrong[:-12] + "A" * 12)))


def test_the_public_key_is_no_secret(tmp_path):
    path = pem(tmp_path, RSA)
    body = unsigned({"alg": "HS256"})[:-1]
    mac = base64.urlsafe_b64encode(hmac.digest(path.read_bytes(), body.encode(), hashlib.sha256)).decode().rstrip("=")
    handler = opened(secret=None, algorithms=("RS256",), key=path)
    assert refused(handler, bearing(f"{body}.{mac}")).detail.endswith("its algorithm is not accepted here")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"algorithms": ("none",)}, "algorithms: 'none' is not accepted; one of HS256, "),
        ({"algorithms": ("hs256",)}, "algorithms: 'hs256' is not accepted; one of HS256, "),
        ({"algorithms": ()}, "algorithms: '' is not accepted"),
        ({"algorithms": ("HS256", "RS256")}, "algorithms: HS\\* and public-key algorithms don't mix"),
        ({"secret": None}, "secret, key, jwks, issuer: is missing; expected one of secret, key, jwks and issuer"),
        ({"secret": Secret("short")}, "secret: it is too short; at least 16 bytes"),
        (
            {"secret": Secret("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----")},
            "secret: it is invalid; a key for HS256 is expected",
        ),
        ({"key": Path("x.pem")}, "secret, key: not both can verify tokens; expected one of secret and key"),
        ({"algorithms": ("RS256",)}, "secret: RS256 does not use it; expected key"),
        ({"algorithms": ("RS256",), "secret": None}, "secret, key, jwks, issuer: is missing"),
        ({"algorithms": ("RS256",), "secret": None, "key": Path("/nowhere.pem")}, "key: /nowhere.pem cannot be read"),
        ({"forward": {"sub": "X User"}}, "forward: 'X User' is not a header name"),
        ({"forward": {"sub": "Host"}}, "forward: 'Host' is a reserved header and cannot carry a claim"),
        ({"forward": {"sub": "Connection"}}, "forward: 'Connection' is a reserved header and cannot carry a claim"),
        (
            {"forward": {"sub": "X-User", "name": "x-user"}},
            "forward: X-User is used twice; expected one claim for each header",
        ),
        ({"forward": {'a"b': "X-User"}}, "forward: invalid claim name"),
        ({"realm": 'a"b'}, "realm: "),
        ({"leeway": Seconds(-1.0)}, "leeway: is negative; expected 0 or more"),
        ({"cache": -1}, "cache: is negative; expected 0 or more"),
    ],
)
def test_wrong_options(options, problem):
    with pytest.raises(ValueError, match=f"^{problem}"):
        JWT(**{"secret": Secret(SECRET)} | options)


@pytest.mark.parametrize(
    ("private", "algorithm"), [(EC, "RS256"), (RSA, "ES256"), (RSA, "EdDSA"), (EC, "ES384"), (WEAK_RSA, "RS256")]
)
def test_a_key_that_does_not_suit_the_algorithm(tmp_path, private, algorithm):
    with pytest.raises(ValueError, match=r"^key: (it is invalid; a key for|The RSA key is 1024 bits long)"):
        JWT(algorithms=(algorithm,), key=pem(tmp_path, private))


def test_an_auto_secret_outlives_the_handler(tmp_path):
    def started(name):
        handler = JWT(secret=Secret("auto"))
        handler.name = name
        handler.open(Runtime(state_dir=tmp_path / "var", clock=Clock(NOW)))
        return handler

    token = started("jwt").sign({"sub": "alice"}, 60, NOW)
    assert started("jwt")(bearing(token), answer()).status == 200
    assert is_invalid(refused(started("staff"), bearing(token)))
    started("../odd name")
    assert sorted(path.name for path in (tmp_path / "var").iterdir()) == [
        ".._odd_name.secret",
        "jwt.secret",
        "staff.secret",
    ]


def test_an_auto_secret_that_cannot_be_kept(tmp_path):
    (tmp_path / "var").write_text("")
    with pytest.raises(ValueError, match=r"^secret: it cannot be stored in"):
        JWT(secret=Secret("auto")).open(Runtime(state_dir=tmp_path / "var"))


def test_a_short_secret_is_warned_of_once(caplog):
    handler = opened(secret=Secret("only twenty bytes..."), cache=0)
    token = handler.sign({"sub": "alice"}, 60, NOW)
    for _ in range(3):
        handler(bearing(token), answer())
    assert caplog.messages == ["[handler:jwt] secret: RFC 7518 requires at least 32 bytes"]


def test_signing_gives_what_the_handler_accepts():
    clock = Clock(NOW + 0.5)
    handler = opened(clock, issuer=(Issuer("us"),), audience=("shop",), algorithms=("HS512", "HS256"))
    token = handler.sign({"sub": "alice", "role": "admin"}, 60, clock())
    asked = bearing(token)
    handler(asked, answer())
    assert asked.context["claims"] == {
        "iss": "us", "aud": "shop", "sub": "alice", "role": "admin", "iat": NOW, "exp": NOW + 61,
    }  # fmt: skip
    assert pyjwt.get_unverified_header(token) == {"alg": "HS512", "typ": "JWT"}


def test_signing_needs_a_secret(tmp_path):
    with pytest.raises(ValueError, match="cannot sign RS256 tokens"):
        opened(secret=None, algorithms=("RS256",), key=pem(tmp_path, RSA)).sign({}, 60, NOW)
    with pytest.raises(ValueError, match="there is no secret yet"):
        JWT(secret=Secret("auto")).sign({}, 60, NOW)


def test_the_headers_that_the_gateway_removes_from_every_request():
    assert opened().identity_headers == {"x-user-id", "x-user-role"}


def test_no_secret_in_the_repr():
    handler = opened()
    assert SECRET not in repr(handler)
    error = refused(handler, bearing(signed(key="x" * 64)))
    assert signed(key="x" * 64) not in f"{error}{error.headers}"


@pytest.mark.parametrize("name", ["a\nb", "\u20ac"])
def test_no_token_is_signed_that_would_be_rejected(name):
    handler = opened(forward={"sub": "X-User-ID"})
    with pytest.raises(ValueError, match="such a token would be rejected: its claim sub cannot be sent in a header"):
        handler.sign({"sub": name}, 60, NOW)
