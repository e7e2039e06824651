"""Feature 3: tokens signed by PyJWT, keys made by cryptography, and nothing reaches a backend without."""

import base64
import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from shipped import UNLIMITED, problem, running, signed

LATER = int(time.time()) + 86_400  # the tests may begin long after this


def unsigned():
    def part(content):
        return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part({'sub': 'alice', 'exp': LATER})}."


def challenge_of(answer):
    """The WWW-Authenticate field: its scheme and parameters (RFC 6750 section 3)."""
    scheme, _, parameters = answer["www-authenticate"].partition(" ")
    assert re.fullmatch(r'\w+="[^"]*"(, \w+="[^"]*")*', parameters)
    return scheme, dict(re.findall(r'(\w+)="([^"]*)"', parameters))


def refused(ours, *headers, status=401):
    """The parameters of the challenge; the error is as it should be, and no backend has seen anything."""
    before = ours.received
    answer = ours.get("/users/1", *headers)
    assert answer.status == status
    assert problem(answer)["request_id"]
    assert ours.received == before
    scheme, parameters = challenge_of(answer)
    assert scheme == "Bearer"
    assert parameters["realm"] == "gproxy"
    line = ours.line_of(answer)
    assert (line["route"], line["backend"], line["user"]) == ("users", "-", "-")
    return parameters | {"reason": line["reason"]}


def test_a_valid_token_and_what_the_backend_gets(ours):
    answer = ours.get("/orders", ours.bearer(sub="bob", role="clerk"))
    assert answer.status == 200
    seen = ours.two.requests[-1]
    assert (seen["x-user-id"], seen["x-user-role"], seen["authorization"]) == ("bob", "clerk", None)
    assert ours.line_of(answer)["user"] == "bob"


def test_no_token_and_other_schemes_are_told_of_ours_without_an_error_code(ours):
    for headers in ([], ["Authorization: Basic YTpi"], ["Authorization: "]):
        parameters = refused(ours, *headers)
        assert parameters == {"realm": "gproxy", "reason": "auth_missing"}


def wrong_tokens(ours):
    good = ours.token()
    head, claims, signature = good.split(".")
    return {
        "no token at all": "",
        "not three parts": "abc",
        "two words": "abc def",
        "no base64": "a.b.c",
        "cut off": good[:-10],
        "no signature": f"{head}.{claims}.",
        "another's signature": ours.token(sub="eve").rpartition(".")[0] + f".{signature}",
        "another secret": signed("x" * 40, "HS256"),
        "another algorithm": signed((ours.folder / "var/jwt.secret").read_text().strip(), "HS512"),
        "none": unsigned(),
        "expired": ours.token(exp=int(time.time()) - 1),
        "without exp": ours.token(exp=None),
        "not yet valid": ours.token(nbf=LATER),
        "more than max_token": ours.token(filler="x" * 9000),
    }


def test_every_kind_of_wrong_token(ours):
    for name, token in wrong_tokens(ours).items():
        parameters = refused(ours, f"Authorization: Bearer {token}")
        assert (parameters["error"], parameters["reason"]) == ("invalid_token", "auth_invalid"), name


def test_a_token_of_100_kilobytes_is_too_large_a_head(ours):
    answer = ours.get("/users", f"Authorization: Bearer {'x' * 100_000}")
    assert answer.status == 431


def test_two_tokens_are_a_bad_request(ours):
    assert refused(ours, ours.bearer(), ours.bearer(), status=400)["error"] == "invalid_request"


def test_a_token_expires_though_it_was_verified_and_remembered(ours):
    bearer = ours.bearer(exp=int(time.time()) + 2)
    assert ours.get("/users", bearer).status == 200
    assert ours.get("/users", bearer).status == 200
    time.sleep(2.1)
    assert refused(ours, bearer)["error"] == "invalid_token"


def test_audience_issuer_and_role(tmp_path):
    strict = ("algorithms = HS256\n", "algorithms = HS256\nissuer = us\naudience = shop, blog\nrole = admin\n")
    with running(tmp_path, UNLIMITED, strict) as ours:
        right = {"iss": "us", "aud": "blog"}
        assert ours.get("/users", ours.bearer(**right)).status == 200
        assert ours.get("/users", ours.bearer(**right, role=None, roles=["x", "admin"])).status == 200
        for wrong in ({"aud": "elsewhere"}, {"aud": None}, {"iss": "them"}, {"iss": None}):
            parameters = refused(ours, ours.bearer(**right | wrong))
            assert parameters["error"] == "invalid_token"
        parameters = refused(ours, ours.bearer(**right, role="clerk"), status=403)
        assert (parameters["error"], parameters["reason"]) == ("insufficient_scope", "auth_scope")


KEYS: dict[str, Callable[[], Any]] = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


def test_public_keys_in_pem_files(tmp_path):
    """One gateway with three jwt handlers, each for a route."""
    keys = {name: make() for name, make in KEYS.items()}
    more = ""
    for name, key in keys.items():
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / f"{name}.pem").write_bytes(pem)
        more += (
            f"[handler:{name}]\nuse = jwt\nalgorithms = {name}\nkey = {tmp_path}/{name}.pem\n"
            f"[route:{name}]\npath = /{name}\nupstream = users\nskip = jwt\nhandlers = {name}\n"
        )
    with running(tmp_path, UNLIMITED, more=more) as ours:
        for name, key in keys.items():
            private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            good = ours.get(f"/{name}", f"Authorization: Bearer {signed(private, name)}")
            assert good.status == 200, name
            stranger = KEYS[name]().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            before = ours.received
            # The public key as an HMAC secret is the classical confusion (RFC 8725 section 2.1).
            for token in (signed(stranger, name), ours.token(), unsigned()):
                bad = ours.get(f"/{name}", f"Authorization: Bearer {token}")
                assert (bad.status, challenge_of(bad)[1]["error"]) == (401, "invalid_token")
            assert ours.received == before


@pytest.mark.parametrize("sub", [" admin ", "Ã©", "user,admin"])
def test_a_subject_that_a_backend_could_read_as_another_one(ours, sub):
    parameters = refused(ours, ours.bearer(sub=sub))
    assert parameters["error_description"] == "the token is rejected: its claim sub cannot be sent in a header"


def test_identity_headers_never_come_from_the_client(tmp_path):
    public = ("upstream = orders\n", "upstream = orders\nskip = jwt\n")
    forged = ("X-User-ID: root", "x-user-role: admin", "X-USER-ID: root", "X_User_ID: root")
    with running(tmp_path, UNLIMITED, public) as ours:
        assert ours.get("/orders", *forged).status == 200
        assert ours.get("/users", *forged, ours.bearer(sub="bob", role=None)).status == 200
        open_route, protected = ours.two.requests[0], ours.one.requests[0]
        assert (open_route["x-user-id"], open_route["x-user-role"]) == (None, None)
        assert (protected["x-user-id"], protected["x-user-role"]) == ("bob", None)
        for seen in (open_route, protected):
            assert "root" not in seen.head.decode()
