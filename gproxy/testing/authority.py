"""Certificates for tests: a private authority that signs valid and invalid certificates."""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PEM = serialization.Encoding.PEM
_SIGNS = x509.KeyUsage(
    digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
    data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
)  # fmt: skip


class Authority:
    """A certificate authority; `path` is its own certificate, to be trusted by peers. All files are in `folder`."""

    def __init__(self, folder: Path, name: str = "authority", *, key_identifiers: bool = True) -> None:
        """Create the authority. RFC 5280 section 4.2.1 requires `key_identifiers`; many private ones omit them."""
        self._folder = folder
        self._key_identifiers = key_identifiers
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self._name, self._key, days=(-1, 10))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        signed = builder.add_extension(_SIGNS, critical=True).sign(self._key, hashes.SHA256())
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(signed.public_bytes(_PEM))

    def issue(
        self,
        *names: str,
        file: str = "",
        subject: Sequence[tuple[x509.ObjectIdentifier, str]] = (),
        days: tuple[int, int] = (-1, 1),
    ) -> tuple[Path, Path]:
        """Return the files of a certificate for these names and of its key; it is valid from and to `days` from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = subject or [(NameOID.COMMON_NAME, names[0])]
        subject_name = x509.Name([x509.NameAttribute(kind, value) for kind, value in attributes])
        builder = self._builder(subject_name, key, days=days)
        if self._key_identifiers:
            authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
            builder = builder.add_extension(authority, critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_general, names))), critical=False)
        signed = builder.sign(self._key, hashes.SHA256())
        stem = file or names[0].replace("*", "any")
        paths = self._folder / f"{stem}.crt", self._folder / f"{stem}.key"
        paths[0].write_bytes(signed.public_bytes(_PEM))
        paths[1].touch(mode=0o600)
        paths[1].write_bytes(key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return paths

    def revoke(self, *certificates: Path, days: tuple[int, int] = (-1, 1)) -> Path:
        """Return the file of a revocation list with these certificates; it is valid from and to `days` from now."""
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        builder = builder.last_update(now + dt.timedelta(days=days[0])).next_update(now + dt.timedelta(days=days[1]))
        for path in certificates:
            serial = x509.load_pem_x509_certificate(path.read_bytes()).serial_number
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            builder = builder.add_revoked_certificate(revoked)
        path = self.path.with_suffix(".crl")
        path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM))
        return path

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: tuple[int, int]
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + dt.timedelta(days=days[0]))
            .not_valid_after(now + dt.timedelta(days=days[1]))
        )
        if not self._key_identifiers:
            return builder
        return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _general(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    if "@" in name:
        return x509.RFC822Name(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
