"""What two parsers say of the same token: ours and PyJWT. For the fuzz target and for a unit test.

The rule: what we accept PyJWT accepts with the same claims; what PyJWT accepts we accept, but for the `reasons` of ours.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import jwt

from gproxy.identity.tokens.signatures import Signatures, Untrusted

SECRET = b"a secret of sixty-four bytes, or a few more, so that HS512 is content"
#: The claims are checked elsewhere; here is the token around them.
NO_CLAIMS = {f"verify_{name}": False for name in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}

Sign = Callable[[bytes], bytes]


def mac(signed: bytes) -> bytes:
    return hmac.digest(SECRET, signed, hashlib.sha256)


def encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def edited(text: bytes, edits: bytes) -> bytes:
    """The text with characters replaced; `edits` are pairs of a place, counted from both ends in turn, and a character."""
    changed = bytearray(text)
    for number, (place, character) in enumerate(zip(edits[::2], edits[1::2], strict=False)):
        index = place % len(changed)
        changed[-1 - index if number % 2 == 0 else index] = character
    return bytes(changed)


def token(header: bytes, payload: bytes, signed_edits: bytes, edits: bytes, sign: Sign = mac) -> bytes:
    """A token whose signature is right, unless `edits` change it; `signed_edits` come before the signature."""
    signed = edited(encoded(header) + b"." + encoded(payload), signed_edits)
    return edited(signed + b"." + encoded(sign(signed)), edits)


def ours(text: bytes, signatures: Signatures) -> dict[str, Any] | None:
    """None for what is rejected. Anything but Untrusted is a bug, and raised."""
    try:
        unverified = signatures.parse(text)
        signatures.verify(unverified)
    except Untrusted:
        return None
    return unverified.claims


def pyjwt(text: bytes, key: Any, algorithms: tuple[str, ...]) -> dict[str, Any] | None:
    try:
        return jwt.decode(text, key, list(algorithms), options=NO_CLAIMS)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return None


def _reject(name: str) -> None:
    raise ValueError(name)


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in members]
    if len(set(names)) < len(names):
        raise ValueError("twice")
    return dict(members)


def reasons(text: bytes) -> list[str]:
    """Why we reject a token that PyJWT accepts; each is stricter on purpose."""
    found = []
    texts = text.rstrip(b"=").split(b".")
    if text.endswith(b"="):
        found.append("padding")  # RFC 7515 section 2
    if len(texts) != 3 or any(encoded(base64.urlsafe_b64decode(part + b"==")) != part for part in texts):
        return ["text"]  # PyJWT 2.12 ignores other characters, and bits beyond the last byte
    parts = [base64.urlsafe_b64decode(part + b"==") for part in texts[:2]]
    if json.loads(parts[0]).keys() & {"crit", "b64"}:
        found.append("extension")  # RFC 7515 section 4.1.11; RFC 7797 changes what is signed
    for part in parts:
        try:
            decoded = part.decode()  # RFC 7519 section 3: UTF-8; no byte order mark (RFC 8259 section 8.1)
        except UnicodeDecodeError:
            found.append("encoding")
            continue
        if decoded.startswith("\ufeff") or "\0" in decoded:
            found.append("encoding")
            continue
        try:
            json.loads(decoded, parse_constant=_reject)
        except ValueError:
            found.append("constant")  # RFC 8259 section 6
        try:
            json.loads(decoded, object_pairs_hook=_unique)
        except ValueError:
            found.append("twice")  # RFC 7519 section 4
    return found


def disagreement(text: bytes, signatures: Signatures, key: Any = SECRET) -> str:
    """Empty if all is well."""
    mine, theirs = ours(text, signatures), pyjwt(text, key, signatures.algorithms)
    if mine is not None:
        return "" if mine == theirs else f"accepted as {mine}, by PyJWT as {theirs}"
    return "" if theirs is None or reasons(text) else f"rejected for no known reason; PyJWT reads {theirs}"
