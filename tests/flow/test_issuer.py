"""The issuer for tests, as its users have it: in a plain process, and in one that gevent has patched."""

import json
import subprocess
import sys
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import jwt
import pytest

from gproxy.testing.authority import Authority
from gproxy.testing.issuer import Issuer


def read(url, **form):
    with urlopen(url, urlencode(form).encode() if form else None, timeout=5) as answer:
        return json.loads(answer.read())


def verified(issuer, token):
    keys = {key["kid"]: key for key in read(issuer.keys_url)["keys"]}
    header = jwt.get_unverified_header(token)
    key = jwt.PyJWK(keys[header["kid"]])
    return jwt.decode(token, key, algorithms=[header["alg"]], audience=issuer.audience, issuer=issuer.url)


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA"])
def test_a_token_is_verified_with_the_published_keys(algorithm):
    with Issuer(algorithm=algorithm) as issuer:
        claims = verified(issuer, issuer.token("bob", role="admin", nbf=1))
        assert (claims["sub"], claims["role"], claims["nbf"]) == ("bob", "admin", 1)


@pytest.mark.parametrize(
    ("metadata", "path"),
    [("openid", "{}/.well-known/openid-configuration"), ("oauth", "/.well-known/oauth-authorization-server{}")],
)
def test_both_forms_of_metadata(metadata, path):
    with Issuer(path="/realms/a", metadata=metadata) as issuer:
        host = issuer.url.removesuffix("/realms/a")
        document = read(host + path.format("/realms/a"))
        assert document["issuer"] == issuer.url
        assert document["jwks_uri"] == issuer.keys_url
        with pytest.raises(HTTPError, match="404"):
            read(f"{host}/.well-known/openid-configuration")
    assert issuer.requests == {"metadata": 1, "other": 1}


def test_keys_are_rotated_and_withdrawn():
    with Issuer() as issuer:
        first, old = issuer.kid, issuer.token()
        second = issuer.rotate("RS256")
        assert issuer.kid == second != first
        assert verified(issuer, old)["sub"] == verified(issuer, issuer.token())["sub"] == "alice"
        issuer.withdraw(first)
        assert [key["kid"] for key in read(issuer.keys_url)["keys"]] == [second]
        unpublished = issuer.rotate(publish=False)
        assert [key["kid"] for key in read(issuer.keys_url)["keys"]] == [second]
        assert jwt.get_unverified_header(issuer.token())["kid"] == unpublished


def test_header_and_claims_can_be_left_out_or_replaced():
    with Issuer() as issuer:
        token = issuer.token(ttl=5, aud=None, iss="other", header={"typ": "at+jwt", "kid": None})
    claims = jwt.decode(token, options={"verify_signature": False})
    assert "aud" not in claims
    assert claims["iss"] == "other"
    assert claims["exp"] - claims["iat"] == 5
    assert jwt.get_unverified_header(token) == {"typ": "at+jwt", "alg": "ES256"}


def test_introspection():
    with Issuer() as issuer:
        token = issuer.opaque("bob", scope="a b", exp=None)
        assert read(issuer.introspection_url, token=token) == {
            "active": True, "iss": issuer.url, "sub": "bob", "aud": "api", "scope": "a b",
        }  # fmt: skip
        issuer.revoke(token)
        assert read(issuer.introspection_url, token=token) == {"active": False}
        assert issuer.received[0].body == urlencode({"token": token}).encode()


def test_failures_end_with_recover():
    with Issuer() as issuer:
        issuer.fail("status")
        with pytest.raises(HTTPError, match="500"):
            read(issuer.keys_url)
        issuer.fail("garbage", "metadata")
        with pytest.raises(json.JSONDecodeError):
            read(f"{issuer.url}/.well-known/openid-configuration")
        issuer.fail("empty")
        assert read(issuer.keys_url) == {"keys": []}
        issuer.recover()
        assert len(read(issuer.keys_url)["keys"]) == 1


def test_an_issuer_stops_and_starts_on_its_port():
    with Issuer() as issuer:
        issuer.stop()
        with pytest.raises(OSError):
            read(issuer.keys_url)
        issuer.start()
        assert read(issuer.keys_url)["keys"]


UNDER_GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent, json, pathlib, ssl, sys, urllib.request
from gproxy.testing.authority import Authority
from gproxy.testing.issuer import Issuer
authority = Authority(pathlib.Path(sys.argv[1]))
context = ssl.create_default_context(cafile=authority.path)
with Issuer(authority=authority) as issuer:
    def read():
        return json.loads(urllib.request.urlopen(issuer.keys_url, timeout=5, context=context).read())
    print(len(read()["keys"]))
    issuer.fail("hang")
    waiting = gevent.spawn(read)
    gevent.sleep(0.1)
    print(waiting.ready())
    waiting.kill()
    issuer.recover()
    print(len(read()["keys"]))
"""


def test_it_works_under_gevent_and_over_tls(tmp_path):
    command = [sys.executable, "-c", UNDER_GEVENT, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.split() == ["1", "False", "1"]


def test_it_works_over_tls(tmp_path):
    import ssl

    authority = Authority(tmp_path)
    with Issuer(authority=authority) as issuer:
        assert issuer.url.startswith("https://localhost:")
        context = ssl.create_default_context(cafile=authority.path)
        with urlopen(issuer.keys_url, timeout=5, context=context) as answer:
            assert answer.status == 200
