"""The facts of client certificates: of a TLS connection, and of the fields in which a trusted proxy passes them on.

The forms are the Client-Cert field (RFC 9440 section 2), which has the whole certificate, and Envoy's
X-Forwarded-Client-Cert, which has some of its facts for each proxy on the way.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Any, Final
from urllib.parse import unquote

from gproxy.http.identity import Claims
from gproxy.http.tls import ClientCertificate
from gproxy.identity.errors import Untrusted

#: The facts that are texts, and those that are lists of names.
_TEXTS: Final = ("subject", "issuer", "serial", "fingerprint")
_LISTS: Final = ("cn", "dns", "email", "uri")
#: A pair of an element, its value with or without quotes, and what separates it from the next pair or element.
_pair: Final = re.compile(r' *([A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^",;]*))(;|,|\Z)')
_escape: Final = re.compile(r'\\(["\\])')
_pem: Final = re.compile(r"-----BEGIN CERTIFICATE-----\s([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*").fullmatch


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """The claims of a certificate, and the end of its validity in epoch seconds; infinite if it is unknown."""

    claims: Claims
    expires: float = inf

    def name(self, fact: str) -> str:
        """Return the fact as the name of the client: the first one of a list. Raises Untrusted without it."""
        value = self.claims.get(fact)
        found = (value[0] if value else None) if isinstance(value, list) else value
        if not found:
            raise Untrusted(f"it has no {fact}")
        if not isinstance(found, str) or not found.isprintable():
            raise Untrusted(f"its {fact} is not a plain text")
        return found


def read_facts(text: str) -> CertificateFacts:
    """Return the facts of a Client-Cert or X-Forwarded-Client-Cert field. Raises Untrusted for any other text."""
    return _of_certificate(_decoded(text[1:-1])) if text[:1] == ":" == text[-1:] else _of_element(text)


def _of_certificate(der: bytes) -> CertificateFacts:
    certificate = ClientCertificate(der)
    try:
        claims: dict[str, Any] = {name: getattr(certificate, name) for name in _TEXTS}
        claims |= {name: list(getattr(certificate, name)) for name in _LISTS}
        return CertificateFacts(claims, certificate.expires)
    except ValueError:
        raise Untrusted("it is malformed") from None


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Untrusted("it is malformed") from None


def _of_element(text: str) -> CertificateFacts:
    """Return the facts of the last element: the nearest proxy has added it, and verified the certificate."""
    pairs: list[tuple[str, str]] = []
    for name, value, separator in _pairs(text):
        pairs.append((name, value))
        if separator == ",":
            pairs = []
    found = dict(reversed(pairs))  # of a repeated name the first one
    if "cert" in found:
        return _of_pem(found["cert"], found.get("hash"))
    subject = found.get("subject", "")
    claims: dict[str, Any] = {"uri": [value for name, value in pairs if name == "uri" and value]}
    claims |= {"dns": [value for name, value in pairs if name == "dns" and value], "email": [], "cn": _cn(subject)}
    claims |= {"subject": subject} if subject else {}
    claims |= {"fingerprint": found["hash"].lower()} if found.get("hash") else {}
    if not any(claims.values()):
        raise Untrusted("it has no facts")
    return CertificateFacts(claims)


def _pairs(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield name in lower case, value and the separator behind it. Raises Untrusted for a malformed text."""
    place = 0
    while place < len(text):
        match = _pair.match(text, place)
        if match is None or (match.end() == len(text) and match[4]):
            raise Untrusted("it is malformed")
        yield match[1].lower(), _escape.sub(r"\1", match[2]) if match[2] is not None else match[3], match[4]
        place = match.end()


def _of_pem(text: str, fingerprint: str | None) -> CertificateFacts:
    match = _pem(unquote(text))
    if match is None:
        raise Untrusted("it is malformed")
    facts = _of_certificate(_decoded("".join(match[1].split())))
    if fingerprint and fingerprint.lower() != facts.claims["fingerprint"]:
        raise Untrusted("its hash is that of another certificate")
    return facts


def _cn(subject: str) -> list[str]:
    """Return the common names of a distinguished name as in RFC 4514; none of a name in another form."""
    from cryptography import x509  # large, and most gateways never see a client certificate

    try:
        names = x509.Name.from_rfc4514_string(subject).get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    except ValueError:
        return []
    return [str(name.value) for name in names]
