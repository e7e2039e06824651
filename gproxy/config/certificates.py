"""Certificate files: from `[tls:NAME]` and its PEM files to the SSL context of a handshake, or to problems.

The rest of the settings does not import this module, because gevent must patch `ssl` first.
"""

import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from gproxy.config.record import Record
from gproxy.config.revocation_lists import NO_LISTS, RevocationLists, read_lists, use_lists
from gproxy.config.sections.tls import TLSSettings
from gproxy.config.sections.upstream_tls import content

if TYPE_CHECKING:
    from cryptography import x509

#: The protocols inside TLS that every worker serves, by their ALPN names (RFC 7301).
PROTOCOLS: Final = ("http/1.1", "http/1.0")

_VERIFY: Final = {"off": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
#: OpenSSL's reasons for rejecting a certificate and key, and the problem to report for each.
_REASONS: Final = {
    "KEY_VALUES_MISMATCH": "key: does not match the certificate",
    "KEY_TYPE_MISMATCH": "key: does not match the certificate",
    "EE_KEY_TOO_SMALL": "certificate: its key is too short to be secure",
    "CA_MD_TOO_WEAK": "certificate: its signature uses an insecure digest",
}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Certificate(Record):
    """The certificate of one section. `names` are in lower case; each of `warnings` is `option: warning`.

    expires: the end of its validity, in seconds since the epoch. lists: the revocation lists for its clients.
    """

    context: ssl.SSLContext
    names: tuple[str, ...]
    warnings: tuple[str, ...]
    expires: float
    lists: RevocationLists = NO_LISTS


def read_certificate(settings: TLSSettings, now: float, protocols: Sequence[str] = PROTOCOLS) -> Certificate:
    """Read the section's files; `protocols` are offered. Raise ValueError, with one `option: problem` a line."""
    key = settings.key or settings.certificate
    _readable(settings.certificate, key)
    leaf = _leaf(settings.certificate)
    context = _context(settings, key, protocols)
    lists = NO_LISTS
    authorities: tuple[str, ...] = ()
    if settings.client_ca is not None:
        authorities = tuple(_authority_warnings(settings.client_ca, now))
        if settings.client_crl is not None:
            lists = read_lists(settings.client_crl, settings.client_ca, now)
            use_lists(context, settings.client_crl)
    names = tuple(host.lower().rstrip(".") for host in settings.hosts or _names(leaf))
    warnings = (*_warnings(leaf, key, names, now), *authorities, *lists.warnings)
    return Certificate(context, names, warnings, leaf.not_valid_after_utc.timestamp(), lists)


def files(settings: TLSSettings) -> list[Path]:
    """Return the files whose change requires a reload."""
    paths = (settings.certificate, settings.key, settings.client_ca, settings.client_crl)
    return [path for path in paths if path is not None]


def _readable(certificate: Path, key: Path) -> None:
    """Raise ValueError for each of the files that cannot be read; one file may be both."""
    problems = []
    for path, option in {key: "key", certificate: "certificate"}.items():
        try:
            content(option, path)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))


def _leaf(path: Path) -> "x509.Certificate":
    from cryptography import x509  # a large module, and most gateways serve no TLS

    pem = content("certificate", path)
    try:
        return x509.load_pem_x509_certificates(pem)[0]
    except (ValueError, x509.InvalidVersion):
        raise ValueError(f"certificate: {path} holds no readable certificate in PEM form{_held(pem, path)}") from None


def _held(data: bytes, path: Path) -> str:
    """Return the hint for a file without certificate: what it holds instead."""
    if not data.strip():
        return "; it is empty"
    if data[:1] == b"\x30":  # the tag of a sequence
        return f"; openssl x509 -inform der -in {path} writes DER as PEM"
    kinds = {b"PRIVATE KEY-----": "a private key", b"CERTIFICATE REQUEST-----": "only the request for a certificate"}
    return next((f"; it holds {held}" for label, held in kinds.items() if label in data), "")


def _context(settings: TLSSettings, key: Path, protocols: Sequence[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion[settings.min_version.replace(".", "_")]
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(protocols)
    try:
        context.load_cert_chain(settings.certificate, key, password=_no_password)
    except ssl.SSLError as error:
        problem = _REASONS.get(error.reason or "", f"key: {key} holds no readable private key in PEM form")
        raise ValueError(problem) from None
    if settings.ciphers is not None:
        try:
            context.set_ciphers(settings.ciphers)
        except ssl.SSLError:
            raise ValueError(f"ciphers: OpenSSL supports none of {settings.ciphers!r}") from None
    if settings.client_ca is not None:
        _trust(context, settings.client_ca)
        context.verify_mode = _VERIFY[settings.client_auth]
    return context


def _no_password() -> NoReturn:
    """Raise ValueError, because OpenSSL would ask for the password on the terminal."""
    raise ValueError("key: the private key is encrypted, which is not supported; expected an unencrypted one")


def _trust(context: ssl.SSLContext, path: Path) -> None:
    content("client_ca", path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        raise ValueError(f"client_ca: {path} holds no readable certificate in PEM form") from None


def _authority_warnings(path: Path, now: float) -> Iterator[str]:
    """Yield what makes handshakes fail: OpenSSL wants each chain to end with an authority that has signed itself."""
    from cryptography import x509

    try:
        authorities = x509.load_pem_x509_certificates(content("client_ca", path))
    except (ValueError, x509.InvalidVersion):  # of a file that OpenSSL can read
        return
    subjects = {one.subject for one in authorities}
    roots = {one.subject for one in authorities if one.subject == one.issuer}
    for one in authorities:
        name, until = one.subject.rfc4514_string(), one.not_valid_after_utc
        if one.issuer not in subjects and one.subject not in roots:
            yield f"client_ca: lacks {one.issuer.rfc4514_string()}, so handshakes with certificates of {name} fail"
        if until.timestamp() <= now:
            yield f"client_ca: {name} expired on {until:%Y-%m-%d}, so handshakes with its certificates fail"


def _names(leaf: "x509.Certificate") -> list[str]:
    from cryptography import x509

    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return []
    return extension.value.get_values_for_type(x509.DNSName)


def _warnings(leaf: "x509.Certificate", key: Path, names: tuple[str, ...], now: float) -> Iterator[str]:
    today = datetime.fromtimestamp(now, UTC)
    if leaf.not_valid_after_utc <= today:
        yield f"certificate: expired on {leaf.not_valid_after_utc:%Y-%m-%d}"
    if leaf.not_valid_before_utc > today:
        yield f"certificate: is not valid before {leaf.not_valid_before_utc:%Y-%m-%d}"
    if key.stat().st_mode & 0o007:
        yield f"key: {key} is readable by every user; run chmod 600"
    if not names:
        yield "hosts: the certificate names no host, so it serves only clients whose server name no other section has"
