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
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gproxy.config.record import Record
from gproxy.config.sections.upstream_tls import content

if TYPE_CHECKING:
    from cryptography import x509

_lists: Final = re.compile(b"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL).findall


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RevocationLists(Record):
    """The lists of one file: `expires` is when the first of them is outdated, in seconds since the epoch.

    digest: SHA-256 of the file; empty without one.
    """

    warnings: tuple[str, ...] = ()
    expires: float = math.inf
    digest: bytes = b""


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
        unsigned = [one for one in lists if not _is_signed(one, trusted)]
        deltas = [one for one in lists if _is_delta(one)]
    except (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm):
        lists = []
    if not lists:
        raise ValueError(f"client_crl: {path} holds no readable revocation list in PEM form")
    if unsigned:
        raise ValueError(f"client_crl: the list of {_name(unsigned[0])} is not signed by an authority in client_ca")
    if deltas:  # OpenSSL would ignore it, and accept the certificates that it revokes
        raise ValueError(f"client_crl: holds a delta list of {_name(deltas[0])}; expected only complete lists")
    return RevocationLists(tuple(_warnings(lists, trusted, now)), _expires(lists), sha256(pem).digest())


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


def _is_delta(one: "x509.CertificateRevocationList") -> bool:
    """Return whether the list only has the changes to another one (RFC 5280 section 5.2.4)."""
    from cryptography import x509

    return any(isinstance(extension.value, x509.DeltaCRLIndicator) for extension in one.extensions)


def _warnings(
    lists: "Sequence[x509.CertificateRevocationList]", trusted: "Sequence[x509.Certificate]", now: float
) -> Iterator[str]:
    if (expires := _expires(lists)) <= now:
        yield outdated(expires)
    starts: dict[x509.Name, datetime] = {}
    for one in lists:
        starts[one.issuer] = min(starts.get(one.issuer, one.last_update_utc), one.last_update_utc)
    for authority in trusted:
        start = starts.get(authority.subject)
        if start is None:
            name = authority.subject.rfc4514_string()
            yield f"client_crl: has no list of {name}, so handshakes with its certificates fail"
        elif start.timestamp() > now:
            name = authority.subject.rfc4514_string()
            date = f"{start:%Y-%m-%d %H:%M} UTC"
            yield f"client_crl: the list of {name} is not valid before {date}; handshakes with its certificates fail"


def _expires(lists: "Sequence[x509.CertificateRevocationList]") -> float:
    """Return when the first authority has no current list; of several lists of one, the last counts."""
    ends: dict[x509.Name, float] = {}
    for one in lists:
        until = one.next_update_utc
        ends[one.issuer] = max(ends.get(one.issuer, 0.0), math.inf if until is None else until.timestamp())
    return min(ends.values())


def _name(one: "x509.CertificateRevocationList") -> str:
    return one.issuer.rfc4514_string()
