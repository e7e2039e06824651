"""Tokens of a real issuer: which ones a gateway admits, what it says of the others, and what ends a good one."""

import base64
import hashlib
import hmac
import json
import os
import socket
import ssl
import time
from contextlib import contextmanager

import jwt as pyjwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gproxy.testing.authority import Authority
from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import PATIENCE, RunningGateway, Wire, eventually, free_port
from gproxy.testing.issuer import Issuer

INI = """
[gateway]
handlers = health, tokens
[handler:health]
[handler:tokens]
use = jwt
forward = sub: X-User
{options}
[route:r]
path = /
upstream = u
[upstream:u]
backends = {url}
"""


class Setup:
    """A gateway that trusts an issuer, and its backend."""

    def __init__(self, gateway, backend, issuer):
        self.gateway = gateway
        self.backend = backend
        self.issuer = issuer

    def send(self, token, path="/"):
        return self.gateway.get(path, f"Authorization: Bearer {token}")

    def admits(self, token):
        """Whether the backend gets the request; a rejected token must be a 401."""
        before = len(self.backend.requests)
        answer = self.send(token)
        assert answer.status in {200, 401}, answer
        assert len(self.backend.requests) == before + (answer.status == 200)
        return answer.status == 200

    def why(self, token):
        """Return why the token is rejected, in the challenge and in the problem; nothing of the token is in either."""
        before = len(self.backend.requests)
        answer = self.send(token)
        assert (answer.status, len(self.backend.requests)) == (401, before)
        detail = json.loads(answer.body)["detail"]
        assert f'error="invalid_token", error_description="{detail}"' in answer["www-authenticate"]
        assert not any(part in answer.body.decode() for part in token.split(".") if len(part) > 8)
        return detail.removeprefix("the token is rejected: ")


@contextmanager
def trusting(folder, *options, issuer=None, arguments=(), more=""):
    """A gateway with these options of `jwt`, `{issuer}` and `{keys}` in them replaced."""
    with Issuer() if issuer is None else issuer as issuer, Backend(answering(body=b"ok")) as backend:
        text = "\n".join(options).replace("{issuer}", issuer.url).replace("{keys}", issuer.keys_url)
        ini = INI.replace("{options}", text).replace("{url}", backend.url) + more
        with RunningGateway(ini, folder, *arguments) as gateway:
            yield Setup(gateway, backend, issuer)


def encoded(part):
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens")
    with trusting(folder, "issuer = {issuer}", "audience = api") as setup:
        yield setup


def test_a_token_of_the_issuer_is_admitted_and_its_user_forwarded(ours):
    assert ours.admits(ours.issuer.token("bob"))
    assert ours.backend.requests[-1]["x-user"] == "bob"


def with_header(issuer, **header):
    """A token with any header, signed with the issuer's key."""
    claims = issuer.token().split(".")[1]
    signed = f"{encoded({'typ': 'JWT', 'alg': 'ES256', 'kid': issuer.kid} | header)}.{claims}"
    es256 = pyjwt.get_algorithm_by_name("ES256")
    return f"{signed}.{encoded(es256.sign(signed.encode(), issuer.key().private))}"


def hostile(issuer):
    """Tokens with hostile headers, and why they are rejected; None: the hostile part is ignored."""
    good = issuer.token()
    _, claims, signature = good.split(".")
    public = issuer.key().private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    hs256 = f"{encoded({'alg': 'HS256', 'kid': issuer.kid})}.{claims}"
    mac = hmac.digest(pem, hs256.encode(), hashlib.sha256)
    evil = "https://evil.example/keys"
    return {
        "none": (f"{encoded({'alg': 'none', 'kid': issuer.kid})}.{claims}.", "its algorithm is not accepted here"),
        "None": (f"{encoded({'alg': 'None', 'kid': issuer.kid})}.{claims}.", "its algorithm is not accepted here"),
        "none, signed": (f"{encoded({'alg': 'none'})}.{claims}.{signature}", "its algorithm is not accepted here"),
        "HS256 with the public key": (f"{hs256}.{encoded(mac)}", "its algorithm is not accepted here"),
        "another algorithm": (
            f"{encoded({'alg': 'RS256', 'kid': issuer.kid})}.{claims}.{signature}",
            "its key is for another algorithm",
        ),
        "ES384": (
            f"{encoded({'alg': 'ES384', 'kid': issuer.kid})}.{claims}.{signature}",
            "its key is for another algorithm",
        ),
        "jku": (with_header(issuer, jku=evil), None),
        "x5u": (with_header(issuer, x5u=evil), None),
        "x5c": (with_header(issuer, x5c=["AAAA"]), None),
        "jwk": (with_header(issuer, jwk={"kty": "oct", "k": "AAAA"}), None),
        "crit": (with_header(issuer, crit=["exp"]), "it is malformed"),
        "crit, b64": (with_header(issuer, crit=["b64"], b64=True), "it has a critical extension"),
        "b64": (with_header(issuer, b64=True), "it is malformed"),
        "another type": (with_header(issuer, typ="logout+jwt"), "its type is not that of an access token"),
        "type as a list": (with_header(issuer, typ=["JWT"]), "it is malformed"),
        "kid as a number": (with_header(issuer, kid=7), "it is malformed"),
        "a long kid": (with_header(issuer, kid="k" * 257), "it is malformed"),
        "kid in two names": (
            encoded(b'{"alg":"ES256","kid":"x","kid":"k1"}') + f".{claims}.{signature}",
            "it is malformed",
        ),
    }


HOSTILE = (
    "none", "None", "none, signed", "HS256 with the public key", "another algorithm", "ES384", "jku", "x5u", "x5c", "jwk",
    "crit", "crit, b64", "b64", "another type", "type as a list", "kid as a number", "a long kid", "kid in two names",
)  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_ignored_or_rejected_and_fetches_nothing(ours, name):
    token, reason = hostile(ours.issuer)[name]
    before = ours.issuer.requests.total()
    if reason is None:
        assert ours.admits(token)
    else:
        assert ours.why(token) == reason
    assert ours.issuer.requests.total() == before


@pytest.mark.parametrize("kid", ["../../../etc/passwd", "k1' OR '1'='1", 'k1"', "k1\r\nX-Evil: 1", "\0", "é" * 100, ""])
def test_an_odd_kid_is_only_a_name_of_no_key(ours, kid):
    assert ours.why(ours.issuer.token(header={"kid": kid})) == "its key is unknown"
    assert ours.admits(ours.issuer.token())


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    folder = tmp_path_factory.mktemp("strict")
    options = ("issuer = {issuer}", "audience = api, shop", "clients = web, app", "claims = plan: /pro|team/")
    with trusting(folder, *options, "max_lifetime = 10m", "max_age = 5m") as setup:
        yield setup


GOOD = {"azp": "web", "plan": "pro"}


@pytest.mark.parametrize(
    "claims",
    [{}, {"aud": ["other", "shop"]}, {"azp": None, "client_id": "app"}, {"plan": ["free", "team"]}, {"iat": -290}],
    ids=str,
)
def test_claims_that_hold(strict, claims):
    now = int(time.time())
    assert strict.admits(strict.issuer.token(**GOOD | {name: _moved(value, now) for name, value in claims.items()}))


def _moved(value, now):
    """Numbers are seconds from now."""
    return now + value if isinstance(value, int) else value


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": None}, "it has no expiry date"),
        ({"exp": -1}, "it has expired"),
        ({"exp": "2999-01-01"}, "its exp is no date"),
        ({"nbf": 60}, "it is not valid yet"),
        ({"aud": None}, "it is meant for another audience"),
        ({"aud": ["bank"]}, "it is meant for another audience"),
        ({"iss": "https://evil.example"}, "its issuer is not the expected one"),
        ({"iss": None}, "its issuer is not the expected one"),
        ({"azp": "eve"}, "it was issued to another client"),
        ({"azp": None}, "it was issued to another client"),
        ({"exp": 660}, "its expiry date is too far ahead"),
        ({"iat": -301}, "it is too old"),
        ({"iat": 60}, "its date of issue is in the future"),
        ({"iat": None}, "it has no date of issue"),
        ({"plan": "free"}, "its claim plan is not as demanded"),
        ({"plan": None}, "its claim plan is not as demanded"),
        ({"sub": "a\r\nX-Admin: 1"}, "its claim sub cannot be sent in a header"),
    ],
    ids=str,
)
def test_claims_that_do_not_hold(strict, claims, reason):
    now = int(time.time())
    assert strict.why(strict.issuer.token(**GOOD | {name: _moved(one, now) for name, one in claims.items()})) == reason


def test_a_name_that_claims_have_twice(strict):
    header = encoded({"alg": "ES256", "kid": strict.issuer.kid})
    claims = encoded(b'{"sub":"alice","sub":"root"}')
    assert strict.why(f"{header}.{claims}.{'A' * 86}") == "it is malformed"


def test_another_issuers_key_verifies_nothing(tmp_path):
    with Issuer() as other:
        issuers = f"issuer = {{issuer}}, {other.url} jwks={other.keys_url}"
        with trusting(tmp_path, issuers, "audience = api") as ours:
            assert ours.admits(ours.issuer.token())
            assert ours.admits(other.token())
            assert ours.why(other.token(iss=ours.issuer.url)) == "its signature is wrong"


def test_a_tenant_cannot_name_another_tenant(tmp_path):
    options = ("issuer = {issuer}/{tid}/v2.0 jwks={keys}", "audience = api", "claims = tid: *")
    with trusting(tmp_path, *options) as ours:
        for tenant in ("t-1", "t-2"):
            assert ours.admits(ours.issuer.token(iss=f"{ours.issuer.url}/{tenant}/v2.0", tid=tenant))
        for iss, tid in (("t-1", "t-2"), ("t-1", None), ("a/b", "a/b"), ("..", ".."), ("{tid}", "{tid}")):
            token = ours.issuer.token(iss=f"{ours.issuer.url}/{iss}/v2.0", tid=tid)
            assert ours.why(token) == "its issuer is not the expected one"


def test_access_tokens_of_rfc_9068(tmp_path):
    with trusting(tmp_path, "issuer = {issuer}", "audience = api", "typ = at+jwt") as ours:
        profile = {"client_id": "web", "jti": "1"}
        for typ in ("at+jwt", "application/at+jwt"):
            assert ours.admits(ours.issuer.token(header={"typ": typ}, **profile))
        assert ours.why(ours.issuer.token(nonce="n", **profile)) == "its type is not at+jwt"
        assert ours.why(ours.issuer.token(header={"typ": None}, **profile)) == "its type is not at+jwt"
        for name in ("iat", "jti", "client_id", "sub"):
            token = ours.issuer.token(header={"typ": "at+jwt"}, **profile | {name: None})
            assert ours.why(token) == f"its claim {name} is missing"


def test_a_token_of_another_algorithm_than_the_listed_ones(tmp_path):
    with trusting(tmp_path, "issuer = {issuer}", "audience = api", "algorithms = RS256, Ed25519") as ours:
        assert ours.why(ours.issuer.token()) == "its algorithm is not accepted here"
        ours.issuer.rotate("EdDSA")
        assert ours.admits(ours.issuer.token())
        assert ours.admits(ours.issuer.token(header={"alg": "EdDSA"}))


def test_clients_find_out_where_to_get_a_token(tmp_path):
    options = ("issuer = {issuer}", "audience = api", "resource = https://api.example/mcp", "scope = tools.call")
    with trusting(tmp_path, *options) as ours:
        path = "/.well-known/oauth-protected-resource/mcp"
        for answer in (ours.gateway.get("/mcp"), ours.send("a.b.c"), ours.send(ours.issuer.token())):
            assert answer.status in {401, 403}
            assert f'resource_metadata="https://api.example{path}"' in answer["www-authenticate"]
        found = ours.gateway.get(path)
        assert (found.status, found["content-type"]) == (200, "application/json")
        assert json.loads(found.body) == {
            "resource": "https://api.example/mcp",
            "authorization_servers": [ours.issuer.url],
            "scopes_supported": ["tools.call"],
            "bearer_methods_supported": ["header"],
        }
        assert ours.send(ours.issuer.token(scope="tools.call"), "/mcp").status == 200
        assert ours.send(ours.issuer.token(scope="tools.call"), path).status == 200
        assert [request.line for request in ours.backend.requests] == ["GET /mcp HTTP/1.1"]


def test_a_revocation_counts_within_two_seconds(tmp_path):
    path = tmp_path / "revoked"
    path.write_text("jti long-ago\n")
    with trusting(tmp_path, "issuer = {issuer}", "audience = api", f"revoked = {path}") as ours:
        lost, kept = ours.issuer.token(jti="lost"), ours.issuer.token(jti="kept")
        assert ours.why(ours.issuer.token(jti="long-ago")) == "it is revoked"
        assert all(ours.admits(token) for token in (lost, kept) * 3)
        began = time.monotonic()
        replacement = tmp_path / "revoked.new"
        replacement.write_text("jti long-ago\njti lost\nsub mallory\n")
        os.replace(replacement, path)
        eventually(lambda: not ours.admits(lost), "the revocation")
        assert time.monotonic() - began < 3
        assert ours.why(lost) == ours.why(ours.issuer.token("mallory")) == "it is revoked"
        assert ours.admits(kept)
        ours.gateway.reload()
        assert ours.why(lost) == "it is revoked"
        assert ours.admits(kept)


TLS = """
[tls:a]
certificate = a.test.crt
key = a.test.key
client_ca = authority.pem
client_auth = optional
"""


def over_tls(setup, port, token, client=None):
    """Return the answer to a request with the token, on a connection with this client certificate."""
    context = ssl.create_default_context(cafile=setup.gateway.folder / "authority.pem")
    if client:
        context.load_cert_chain(setup.gateway.folder / f"{client}.crt", setup.gateway.folder / f"{client}.key")
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
    with Wire(context.wrap_socket(sock, server_hostname="a.test")) as wire:
        wire.send(f"GET / HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\n\r\n")
        return wire.read_response()


def thumbprint(path):
    digest = x509.load_pem_x509_certificate(path.read_bytes()).fingerprint(SHA256())
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def test_a_bound_token_is_good_only_with_the_certificate_of_its_client(tmp_path):
    authority = Authority(tmp_path)
    authority.issue("a.test")
    for name in ("alice", "mallory"):
        authority.issue(f"{name}@a.test", file=name)
    port = free_port()
    options = ("issuer = {issuer}", "audience = api")
    with trusting(tmp_path, *options, arguments=("--bind", f"127.0.0.1:{port} tls"), more=TLS) as ours:
        token = ours.issuer.token(cnf={"x5t#S256": thumbprint(tmp_path / "alice.crt")})
        for _ in range(3):
            assert over_tls(ours, port, token, "alice").status == 200
            assert over_tls(ours, port, token, "mallory").status == 401
            assert over_tls(ours, port, token).status == 401
            assert ours.why(token) == "it is bound to a client certificate, and the connection has none"
        plain = ours.issuer.token()
        assert over_tls(ours, port, plain).status == over_tls(ours, port, plain, "mallory").status == 200
        proof = ours.issuer.token(cnf={"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"})
        assert over_tls(ours, port, proof, "alice").status == 401
        assert ours.why(proof) == "it is bound to a key whose proof is not checked here"


def test_a_withdrawn_key_ends_its_tokens_and_no_others(tmp_path):
    with trusting(tmp_path, "issuer = {issuer}", "audience = api", "jwks_refresh = 1s") as ours:
        old = ours.issuer.token()
        old_kid = ours.issuer.kid
        ours.issuer.rotate()
        new = ours.issuer.token()
        assert all(ours.admits(token) for token in (old, new) * 2)
        ours.issuer.withdraw(old_kid)
        eventually(lambda: not ours.admits(old), "the next fetch")
        assert ours.admits(new)


def test_without_keys_the_answer_is_503_and_the_token_stays_good(tmp_path):
    issuer = Issuer()
    issuer.fail("status", "metadata")
    with trusting(tmp_path, "issuer = {issuer}", "audience = api", issuer=issuer) as ours:
        token = issuer.token()
        for _ in range(2):
            answer = ours.send(token)
            assert (answer.status, answer["retry-after"]) == (503, "1")
            assert json.loads(answer.body)["detail"] == "identity is temporarily unavailable"
        assert ours.gateway.get("/").status == 401
        issuer.recover()
        eventually(lambda: ours.send(token).status == 200, "the keys")


def test_a_pem_key_needs_no_list_of_algorithms(tmp_path):
    with Issuer() as issuer:
        public = issuer.key().private.public_key()
        (tmp_path / "key.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        with trusting(tmp_path, f"key = {tmp_path}/key.pem") as ours:
            token = pyjwt.encode({"sub": "bob", "exp": time.time() + 60}, issuer.key().private, "ES256")
            assert ours.admits(token)
            assert ours.why(ours.issuer.token()) == "its signature is wrong"
