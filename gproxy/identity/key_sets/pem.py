"""Public keys in files, for the verification of tokens."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate


def public_key(path: Path) -> PublicKeyTypes:
    """Return the public key in a PEM file or PEM certificate. Raises ValueError with a description of the problem."""
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    if b"PRIVATE KEY-----" in pem:
        raise ValueError(f"{path} holds a private key; a public key or a certificate is expected")
    try:
        if b"-----BEGIN CERTIFICATE-----" in pem:
            return load_pem_x509_certificate(pem).public_key()
        return load_pem_public_key(pem)
    except Exception:  # noqa: BLE001 cryptography raises several types, and none has more information than the path
        raise ValueError(f"{path} is invalid; a PEM public key or certificate is expected") from None


def usual_algorithm(key: PublicKeyTypes) -> str:
    """Return the algorithm of a key for `algorithms = auto`: a key has only one (RFC 8725 section 3.1).

    Raises ValueError for a P-521 key, whose verification takes milliseconds and so has to be asked for.
    """
    if isinstance(key, RSAPublicKey):
        return "RS256"
    if isinstance(key, EllipticCurvePublicKey):
        if key.curve.name == "secp521r1":
            raise ValueError("it is for ES512, which is slow; expected algorithms = ES512 beside it")
        return "ES384" if key.curve.name == "secp384r1" else "ES256"
    return "EdDSA"
