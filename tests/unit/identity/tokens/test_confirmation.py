import base64
import hashlib

import pytest

from gproxy.http.headers import Headers
from gproxy.http.request import Received, Request
from gproxy.http.tls import TLS, ClientCertificate
from gproxy.identity.errors import Untrusted
from gproxy.identity.tokens.confirmation import check_connection, required_thumbprint

DER = b"a certificate"
THUMBPRINT = base64.urlsafe_b64encode(hashlib.sha256(DER).digest()).rstrip(b"=").decode()


def on(tls):
    """A request on a connection with this TLS."""
    return Request(Received("GET", "/", 1, Headers(), "192.0.2.1", tls), Headers(), "", "/", "")


def with_certificate(der):
    return TLS("TLSv1.3", "", "", None if der is None else ClientCertificate(der))


@pytest.mark.parametrize("claims", [{}, {"cnf": None}, {"cnf": {}}, {"cnf": {"of-another-rfc": 1}}])
def test_a_token_without_a_binding(claims):
    assert required_thumbprint(claims) == ""


def test_a_token_that_is_bound_to_a_certificate():
    assert required_thumbprint({"cnf": {"x5t#S256": THUMBPRINT}}) == THUMBPRINT


@pytest.mark.parametrize(
    "cnf",
    [{"jkt": "x"}, {"jkt": "x", "x5t#S256": THUMBPRINT}, {"jwk": {}}, {"kid": "1"}, {"jku": "https://x"}, {"jwe": "x"},
     "x", [], 7, {"x5t#S256": ""}, {"x5t#S256": 7}, {"x5t#S256": None}],
)  # fmt: skip
def test_a_binding_that_cannot_be_checked(cnf):
    with pytest.raises(Untrusted, match=r"^it is bound to a key whose proof is not checked here$"):
        required_thumbprint({"cnf": cnf})


def test_the_certificate_of_the_connection():
    check_connection(THUMBPRINT, on(with_certificate(DER)))


@pytest.mark.parametrize(
    ("tls", "why"),
    [
        (None, "and the connection has none"),
        (with_certificate(None), "and the connection has none"),
        (with_certificate(b"another"), "it is bound to another client certificate"),
    ],
)
def test_another_certificate(tls, why):
    with pytest.raises(Untrusted, match=why) as caught:
        check_connection(THUMBPRINT, on(tls))
    assert not caught.value.lasting
