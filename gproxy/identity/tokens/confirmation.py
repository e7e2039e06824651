"""Tokens that are bound to a key of their client (RFC 7800): good only beside a proof that the client has this key."""

from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Final

from gproxy.http.identity import Claims
from gproxy.http.request import Request
from gproxy.identity.errors import Untrusted

#: The binding to a client certificate (RFC 8705 section 3.1).
_CERTIFICATE: Final = "x5t#S256"
#: Bindings to keys whose proof the gateway cannot check: DPoP (RFC 9449 section 6.1), and those of RFC 7800.
_UNCHECKED: Final = ("jkt", "jwk", "jwe", "kid", "jku")


def required_thumbprint(claims: Claims) -> str:
    """Return the thumbprint of the client certificate that the token is bound to; "" for a token without a binding.

    Raises Untrusted for a binding that cannot be checked: a stolen bound token must not pass as a plain one.
    """
    confirmation = claims.get("cnf")
    if confirmation is None:
        return ""
    if not isinstance(confirmation, dict) or any(name in confirmation for name in _UNCHECKED):
        raise Untrusted("it is bound to a key whose proof is not checked here")
    thumbprint = confirmation.get(_CERTIFICATE, "")
    if not isinstance(thumbprint, str) or (_CERTIFICATE in confirmation and not thumbprint):
        raise Untrusted("it is bound to a key whose proof is not checked here")
    return thumbprint


def check_connection(thumbprint: str, request: Request) -> None:
    """Raise Untrusted unless the request's connection has the client certificate with this thumbprint."""
    tls = request.received.tls
    certificate = tls.client if tls is not None else None
    if certificate is None:
        raise Untrusted("it is bound to a client certificate, and the connection has none", lasting=False)
    found = urlsafe_b64encode(sha256(certificate.der).digest()).rstrip(b"=").decode()
    if found != thumbprint:
        raise Untrusted("it is bound to another client certificate", lasting=False)
