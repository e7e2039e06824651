"""The revocation lists of client certificates, `client_crl` of `[tls:NAME]`: read and checked (RFC 5280 section 5).

OpenSSL reads the same file, and judges the certificates of a handshake. It rejects every client of an authority whose
list is missing, outdated or not signed by that authority, so all of this is reported here.
"""

import math
import re
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gproxy.config.sections.upstream_tls import content

if TYPE_CHECKING:
    from cryptography import x509

_lists: Final = re.compile(b"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL).findall


@dataclass(frozen=True, slots=True)
class RevocationLists:
    """The lists of one file. `expires` is when the first of them is outdated, in seconds since the epoch."""

    warnings: tuple[str, ...] = ()
    expires: float = math.inf


#: Of a section without `client_crl`.
NO_LISTS: Final = RevocationLists()


def read_lists(path: Path, authorities: Path, now: float) -> RevocationLists:
    """Read the file. Raise ValueError for a file that holds something else, or a list that is not signed."""
    from cryptography import x509  # a large module, and most gateways have no such file
    from cryptography.exceptions import UnsupportedAlgorithm

    pem = content("client_crl", path)
    if b"CERTIFICATE-----" in pem:  # OpenSSL would trust it as an authority
        raise ValueError(f"client_crl: {path} holds a certificate; expected only revocation lists")
    try:
        lists = [x509.load_pem_x509_crl(one) for one in _lists(pem)]
        trusted = x509.load_pem_x509_certificates(content("client_ca", authorities))
        signed = {_name(one): _is_signed(one, trusted) for one in lists}
    except (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm):
        lists = []
    if not lists:
        raise ValueError(f"client_crl: {path} holds no readable revocation list in PEM form")
    if unsigned := [name for name, is_signed in signed.items() if not is_signed]:
        raise ValueError(f"client_crl: the list of {unsigned[0]} is not signed by an authority in client_ca")
    expires = min(_expires(one) for one in lists)
    return RevocationLists(tuple(_warnings(lists, trusted, now)), expires)


def use_lists(context: ssl.SSLContext, path: Path) -> None:
    """Let the context reject revoked certificates, those of intermediate authorities too. Raise ValueError."""
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        raise ValueError(f"client_crl: {path} has a broken part, perhaps a list that is cut off") from None
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def outdated(expires: float) -> str:
    """Return the message for lists of which one is outdated since `expires`."""
    date = datetime.fromtimestamp(expires, UTC)
    return f"client_crl: a list is outdated since {date:%Y-%m-%d %H:%M} UTC; handshakes with its certificates fail"


def _is_signed(one: "x509.CertificateRevocationList", trusted: "Sequence[x509.Certificate]") -> bool:
    keys = [authority.public_key() for authority in trusted if authority.subject == one.issuer]
    return any(one.is_signature_valid(key) for key in keys)  # type: ignore[arg-type]  # of other keys: TypeError


def _warnings(
    lists: "Sequence[x509.CertificateRevocationList]", trusted: "Sequence[x509.Certificate]", now: float
) -> Iterator[str]:
    if (expires := min(_expires(one) for one in lists)) <= now:
        yield outdated(expires)
    listed = {one.issuer for one in lists}
    for authority in trusted:
        if authority.subject not in listed:
            name = authority.subject.rfc4514_string()
            yield f"client_crl: has no list of {name}, so handshakes with its certificates fail"


def _expires(one: "x509.CertificateRevocationList") -> float:
    until = one.next_update_utc
    return math.inf if until is None else until.timestamp()


def _name(one: "x509.CertificateRevocationList") -> str:
    return one.issuer.rfc4514_string()
