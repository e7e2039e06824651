"""Hashes of passwords in the forms of htpasswd files: scrypt, bcrypt, argon2; one is made and verified at a time.

A hash costs a tenth of a second and more, on purpose. All functions here block for that time.
"""

import hashlib
import hmac
import re
import secrets
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from importlib.util import find_spec
from typing import Final, Literal

Kind = Literal["scrypt", "bcrypt", "argon2"]

#: The longest password that bcrypt reads, in bytes: it would take all that begin alike for one.
BCRYPT_BYTES: Final = 72

# The cost of a new scrypt hash: 32 MiB, three times one after the other; 0.2 to 0.3 s. OWASP lists it as equal to one
# pass over 128 MiB, and two hashes at a time take 64 MiB of a worker instead of 256.
_LN: Final = 15
_R: Final = 8
_P: Final = 3
_SALT: Final = 16
_KEY: Final = 32
#: The cost of a new bcrypt hash.
_ROUNDS: Final = 12
#: Bounds of the cost of a hash in a file: memory in bytes, and the exponent of bcrypt.
_MOST_MEMORY: Final = 256 * 1024 * 1024
_MOST_ROUNDS: Final = 16

_bcrypt = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}").fullmatch
_argon2 = re.compile(
    r"\$argon2(?:id|i|d)\$v=19\$m=([0-9]{1,9}),t=([0-9]{1,4}),p=([0-9]{1,3})\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+"
).fullmatch
_scrypt = re.compile(
    r"\$scrypt\$ln=([0-9]{1,2}),r=([1-9][0-9]{0,2}),p=([1-9][0-9]{0,2})\$([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+)"
).fullmatch
#: The beginnings of hashes that are too fast to be safe, and their names. What has no beginning is crypt.
_WEAK: Final = {
    "$apr1$": "MD5",
    "$1$": "MD5",
    "{SHA}": "SHA-1",
    "{SSHA}": "SHA-1",
    "$5$": "crypt",
    "$6$": "crypt",
    "$sha1$": "SHA-1",
}
_is_des = re.compile(r"[./A-Za-z0-9]{13}").fullmatch


def kind_of(text: str) -> Kind:
    """Return the kind of a hash. Raises ValueError, whose text has nothing of it, for one that is not usable."""
    if match := _bcrypt(text):
        _require(4 <= int(match[1]) <= _MOST_ROUNDS, f"a cost of 4 to {_MOST_ROUNDS}")
        return _with_package("bcrypt", "bcrypt")
    if match := _argon2(text):
        _require(int(match[1]) * 1024 <= _MOST_MEMORY, f"at most {_MOST_MEMORY // 1024} KiB of memory")
        return _with_package("argon2", "argon2")
    if match := _scrypt(text):
        _require(_memory(match) <= _MOST_MEMORY, f"at most {_MOST_MEMORY // 1024} KiB of memory")
        if not 1 <= int(match[1]) < 16 * int(match[2]):  # RFC 7914 section 2
            raise ValueError("is a hash with impossible costs; expected an ln above 0 and below 16 r")
        _require(len(_decoded(match[4])) >= 8 and len(_decoded(match[5])) >= 16, "base64 of a salt and a key")
        return "scrypt"
    weak = next((name for begin, name in _WEAK.items() if text.startswith(begin)), "crypt" if _is_des(text) else "")
    if weak:
        raise ValueError(f"is a hash of {weak}, which is guessed too fast; expected bcrypt, argon2 or scrypt")
    raise ValueError("is no known hash; expected bcrypt, argon2 or scrypt, as `gproxy password` writes it")


def hashed(password: str, kind: Kind = "scrypt") -> str:
    """Return a new hash of the password. Raises ValueError without the package, or for more than bcrypt reads."""
    data = password.encode()
    if kind == "scrypt":
        salt = secrets.token_bytes(_SALT)
        key = _scrypt_key(data, salt, _LN, _R, _P, _KEY)
        return f"$scrypt$ln={_LN},r={_R},p={_P}${_encoded(salt)}${_encoded(key)}"
    _with_package(kind, kind)
    if kind == "argon2":
        import argon2

        return argon2.PasswordHasher(parallelism=1).hash(data)  # one thread; others serve requests
    if len(data) > BCRYPT_BYTES:
        raise ValueError(f"the password exceeds the limit of bcrypt, {BCRYPT_BYTES} bytes")
    import bcrypt

    return bcrypt.hashpw(data, bcrypt.gensalt(_ROUNDS, b"2b")).decode().replace("$2b$", "$2y$", 1)  # as htpasswd


def is_right(password: str, text: str) -> bool:
    """Return whether a hash, whose kind is known to be usable, is of this password."""
    data = password.encode()
    if match := _scrypt(text):
        key = _decoded(match[5])
        found = _scrypt_key(data, _decoded(match[4]), int(match[1]), int(match[2]), int(match[3]), len(key))
        return hmac.compare_digest(found, key)
    if text.startswith("$argon2"):
        import argon2

        try:
            return argon2.PasswordHasher().verify(text, data)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False
    import bcrypt

    try:
        return bcrypt.checkpw(data, text.encode())
    except ValueError:  # more than 72 bytes, or NUL
        return False


def is_too_long(password: str, text: str) -> bool:
    """Return whether the kind of the hash does not read the whole password."""
    return text.startswith("$2") and len(password.encode()) > BCRYPT_BYTES


def _scrypt_key(data: bytes, salt: bytes, ln: int, r: int, p: int, size: int) -> bytes:
    memory = 128 * r * ((1 << ln) + p + 2)
    return hashlib.scrypt(data, salt=salt, n=1 << ln, r=r, p=p, maxmem=memory, dklen=size)


def _memory(match: re.Match[str]) -> int:
    return 128 * int(match[2]) * ((1 << int(match[1])) + int(match[3]))


def _require(holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(f"is a hash that costs too much; expected {expected}")


def _with_package(kind: Kind, package: str) -> Kind:
    if find_spec(package) is None:
        raise ValueError(f"needs the package {package}: pip install 'gproxy[passwords]'")
    return kind


def _encoded(data: bytes) -> str:
    """Return standard base64 without padding, as the string format for password hashes has it."""
    return b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    """Return the bytes; none for what is no base64."""
    try:
        return b64decode(text + "=" * (-len(text) % 4), validate=True)
    except Base64Error:
        return b""
