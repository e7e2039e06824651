"""Identities of client certificates, of the connection and of trusted proxies."""

import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gproxy.handlers.mtls import MTLS
from gproxy.http.errors import HTTPError
from gproxy.http.headers import Headers
from gproxy.http.request import Received
from gproxy.http.tls import TLS, ClientCertificate
from gproxy.identity.sources import Source
from gproxy.runtime import Runtime
from gproxy.testing import Clock, answer, request
from gproxy.testing.authority import Authority


@pytest.fixture(scope="module")
def alice(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    subject = [(NameOID.COMMON_NAME, "alice"), (NameOID.ORGANIZATION_NAME, "Example")]
    crt, _ = Authority(folder).issue("alice@a.test", "spiffe://a/alice", file="alice", subject=subject)
    return ClientCertificate(x509.load_pem_x509_certificate(crt.read_bytes()).public_bytes(Encoding.DER))


def opened(clock=None, **options):
    handler = MTLS(**options)
    handler.open(Runtime(clock=clock or time.time))
    return handler


def connected(certificate=None, *headers):
    asked = request(headers=headers)
    tls = TLS("TLSv1.3", "", "a.test", certificate)
    asked.received = Received("GET", "/", 1, Headers(), "192.0.2.1", tls)
    return asked


def rejected(handler, asked):
    with pytest.raises(HTTPError) as caught:
        handler(asked, answer())
    return caught.value


@pytest.mark.parametrize(
    ("fact", "user"),
    [("subject", "O=Example,CN=alice"), ("cn", "alice"), ("email", "alice@a.test"), ("uri", "spiffe://a/alice")],
)
def test_a_verified_certificate_gives_an_identity(alice, fact, user):
    asked = connected(alice)
    assert opened(user=fact, forward={"uri": "X-URI"})(asked, answer()).status == 200
    identity = asked.identity
    assert (identity.user, identity.kind, identity.issuer, asked.user) == (user, "mtls", "CN=authority", user)
    assert (identity.expires, identity.claim("serial")) == (alice.expires, alice.serial)
    assert asked.headers["X-URI"] == "spiffe://a/alice"


@pytest.mark.parametrize("asked", [lambda: connected(None), request])
def test_no_certificate_is_a_403_without_a_challenge(asked):
    error = rejected(opened(), asked())
    assert (error.status, error.reason, error.detail) == (403, "auth_missing", "a client certificate is required")
    assert "www-authenticate" not in error.headers
    assert opened(optional=True)(asked(), answer()).status == 200


def test_a_certificate_without_the_fact_that_names_the_user(alice):
    error = rejected(opened(user="dns"), connected(alice))
    assert (error.status, error.reason) == (403, "auth_invalid")
    assert error.detail == "the client certificate is rejected: it has no dns"


def test_the_identity_ends_with_the_certificate(alice):
    clock = Clock(alice.expires - 1)
    handler = opened(clock)
    asked = connected(alice)
    for _ in range(3):
        assert handler(asked, answer()).status == 200
    clock.advance(1)
    error = rejected(handler, asked)
    assert (error.status, error.reason) == (403, "auth_invalid")
    assert error.detail == "the client certificate is rejected: it has expired"


def test_a_certificate_is_parsed_once(alice, monkeypatch):
    handler = opened()
    for _ in range(2):
        assert handler(connected(alice), answer()).status == 200
    monkeypatch.setattr(handler, "verify", None)
    monkeypatch.setattr(handler, "find_credential", None)
    assert handler(connected(alice), answer()).status == 200


CLIENT_CERT, XFCC = (Source.parse(name) for name in ("client_cert", "xfcc"))


def test_the_headers_of_trusted_proxies(alice):
    handler = opened(sources=(CLIENT_CERT,), user="cn")
    backend = answer()
    asked = request(headers={"Client-Cert": alice.certificate})
    assert handler(asked, backend).status == 200
    assert (asked.user, "client-cert" in backend.requests[0].headers) == ("alice", False)
    handler = opened(sources=(XFCC,), user="uri", pass_on=True)
    asked = request(headers={"X-Forwarded-Client-Cert": alice.xfcc})
    assert handler(asked, backend).status == 200
    assert (asked.user, "x-forwarded-client-cert" in backend.requests[1].headers) == ("spiffe://a/alice", True)


def test_the_proxys_own_certificate_is_not_the_clients(alice):
    """With `client_cert` the certificate of the connection, which is the proxy's, does not count."""
    assert rejected(opened(sources=(CLIENT_CERT,)), connected(alice)).reason == "auth_missing"


def test_a_header_is_not_read_without_its_source(alice):
    assert rejected(opened(), request(headers={"Client-Cert": alice.certificate})).reason == "auth_missing"


@pytest.mark.parametrize("value", [":AA==:", "x", ""])
def test_a_malformed_header_is_rejected(value):
    error = rejected(opened(sources=(CLIENT_CERT,)), request(headers={"Client-Cert": value}))
    assert (error.status, error.reason) == (403, "auth_invalid")


def test_two_headers_are_a_bad_request(alice):
    asked = request(headers=[("Client-Cert", alice.certificate)] * 2)
    assert rejected(opened(sources=(CLIENT_CERT,)), asked).status == 400


@pytest.mark.parametrize("source", ["bearer", "header:Client-Cert", "cookie:a"])
def test_sources_without_a_certificate(source):
    with pytest.raises(ValueError, match=f"sources: {source} has no certificate; expected tls, client_cert, xfcc"):
        MTLS(sources=(Source.parse(source),))
