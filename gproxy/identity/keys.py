"""Public keys in files, with which tokens are verified."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate


def public_key(path: Path) -> PublicKeyTypes:
    """The public key in a PEM file, which may be a certificate. Raises ValueError saying what is wrong with it."""
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if b"PRIVATE KEY-----" in pem:
        raise ValueError(f"{path} holds a private key, which is none of a gateway's business; give the public one")
    try:
        if b"-----BEGIN CERTIFICATE-----" in pem:
            return load_pem_x509_certificate(pem).public_key()
        return load_pem_public_key(pem)
    except Exception:  # cryptography has several for "this is not it", and none is more use than the path
        raise ValueError(f"{path} holds no PEM public key and no certificate") from None
