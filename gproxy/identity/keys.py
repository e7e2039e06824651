"""Public keys in files, for the verification of tokens."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate


def public_key(path: Path) -> PublicKeyTypes:
    """Return the public key in a PEM file or PEM certificate. Raises ValueError with a description of the problem."""
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if b"PRIVATE KEY-----" in pem:
        raise ValueError(f"{path} holds a private key; a public key or a certificate is expected")
    try:
        if b"-----BEGIN CERTIFICATE-----" in pem:
            return load_pem_x509_certificate(pem).public_key()
        return load_pem_public_key(pem)
    except Exception:  # noqa: BLE001 cryptography raises several types, and none has more information than the path
        raise ValueError(f"{path} is invalid; a PEM public key or certificate is expected") from None
