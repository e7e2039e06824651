"""Key sets of issuers (RFC 7517 section 5): from bytes to the keys that may verify tokens.

The key set decides on algorithm and key, never the token (RFC 8725 section 3.1). docs/why/identity.md has the reasons.
"""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK, PyJWS, PyJWTError

from gproxy.identity.tokens.signatures import LONGEST_KID
from gproxy.identity.tokens.strict_json import read_object

#: Bounds of a key set, in bytes and keys.
LARGEST: Final = 256 * 1024
MOST: Final = 100
#: Number of keys that are tried for a token that names none.
_TRIED: Final = 4
#: Bits of RSA keys: a shorter one can be broken, and a longer one costs each verification too much.
_SHORTEST_RSA: Final = 2048
_LONGEST_RSA: Final = 8192
#: Bits of the largest RSA exponent (BoringSSL: 33, Go: 31). One of 2048 bits makes each verification 30 times slower.
_LONGEST_EXPONENT: Final = 32
#: Members of private and secret keys (RFC 7518 sections 6.2.2, 6.3.2, 6.4).
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
#: Type and curve → the one algorithm.
_CURVES: Final[Mapping[tuple[object, object], str]] = {
    ("EC", "P-256"): "ES256",
    ("EC", "P-384"): "ES384",
    ("EC", "P-521"): "ES512",
    ("OKP", "Ed25519"): "EdDSA",
}
_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
#: What an RSA key without `alg` may be for, the usual one first.
_RSA_DEFAULT: Final = ("RS256", "PS256")
_PYJWT: Final = PyJWS()


class Key:
    """A public key for one algorithm; an unchanged key is the same object in later sets.

    kid: its id, None without one. content: the key as canonical JSON. is_implied: True if the issuer names no
    algorithm.
    """

    __slots__ = ("_check", "algorithm", "content", "is_implied", "kid")

    def __init__(self, kid: str | None, algorithm: str, content: str, key: object, *, is_implied: bool) -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.content = content
        self.is_implied = is_implied
        reference = _PYJWT.get_algorithm_by_name(algorithm)
        self._check: Callable[..., bool] = partial(reference.verify, key=key)

    def __repr__(self) -> str:
        return f"<Key {self.kid} {self.algorithm}>"

    def verify(self, signed: bytes, signature: bytes) -> bool:
        """Return whether this is the signature of these bytes."""
        try:
            return self._check(signed, sig=signature)
        except (PyJWTError, TypeError, ValueError):
            return False


class KeySet:
    """The usable keys that an issuer publishes, for all algorithms."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self.keys = tuple(keys)

    @classmethod
    def parse(cls, data: bytes, previous: Iterable[Key] = ()) -> "KeySet":
        """Return the set. Keys that are unchanged since `previous` are the same objects.

        Raises ValueError with the reason if there is no usable key, or too much of anything.
        """
        if len(data) > LARGEST:
            raise ValueError(f"the key set exceeds {LARGEST} bytes")
        try:
            found = read_object(data).get("keys")
        except ValueError as error:
            raise ValueError(f"the key set is not strict JSON: {error}") from None
        if not isinstance(found, list):
            raise ValueError("the key set has no list of keys")  # noqa: TRY004 a wrong text, not a wrong argument
        if len(found) > MOST:
            raise ValueError(f"the key set has {len(found)} keys; expected at most {MOST}")
        keys, reasons = _usable_keys(found, {(key.algorithm, key.content): key for key in previous})
        if not keys:
            raise ValueError(f"the key set has no usable key{'; ' * bool(reasons)}{'; '.join(reasons[:3])}")
        return cls(keys)

    def for_algorithms(self, algorithms: Collection[str]) -> "UsableKeys":
        """Return the keys for these algorithms. Of two with one id and algorithm neither is usable."""
        rsa = next((name for name in _RSA_DEFAULT if name in algorithms), "")
        keys = [key for key in self.keys if key.algorithm in algorithms and (not key.is_implied or _fits(key, rsa))]
        numbers = Counter((key.kid, key.algorithm) for key in keys)
        return UsableKeys(key for key in keys if key.kid is None or numbers[key.kid, key.algorithm] == 1)


class UsableKeys:
    """The keys of a set that one handler may use."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        keys = tuple(keys)
        self.keys = frozenset(keys)
        self._by_id = {(key.kid, key.algorithm): (key,) for key in keys if key.kid is not None}
        self.ids = frozenset(key.kid for key in keys if key.kid is not None)
        self._by_algorithm = {
            name: tuple(key for key in keys if key.algorithm == name)[:_TRIED]
            for name in {key.algorithm for key in keys}
        }

    def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """Return the keys that may have signed a token: at most one with this id, a few for a token without an id."""
        if kid is None:
            return self._by_algorithm.get(algorithm, ())
        return self._by_id.get((kid, algorithm), ())

    def knows(self, kid: str) -> bool:
        """Return whether there is a key with this id, for whichever algorithm."""
        return kid in self.ids


def _fits(key: Key, rsa: str) -> bool:
    """Return whether a key whose issuer names no algorithm is for `rsa`, if it is an RSA key."""
    return key.algorithm not in _RSA_DEFAULT or key.algorithm == rsa


def _usable_keys(found: list[Any], previous: Mapping[tuple[str, str], Key]) -> tuple[list[Key], list[str]]:
    """Return the usable keys, each once, and why the others are not usable."""
    keys: dict[tuple[str, str], Key] = {}
    reasons = []
    for jwk in found:
        try:
            for key in _variants(jwk, previous):
                keys[key.algorithm, key.content] = key
        except ValueError as error:
            kid = jwk.get("kid") if isinstance(jwk, dict) else None
            reasons.append(f"key {ascii(kid)[:60]} {error}")
    return list(keys.values()), reasons


def _variants(jwk: object, previous: Mapping[tuple[str, str], Key]) -> Iterator[Key]:
    """Yield the key for its algorithm; an RSA key without one for each that it may be for. Raises ValueError."""
    if not isinstance(jwk, dict):
        raise ValueError("is no object")  # noqa: TRY004 a wrong text, not a wrong argument
    kid = jwk.get("kid")
    if "kid" in jwk and (not isinstance(kid, str) or len(kid) > LONGEST_KID):
        raise ValueError(f"has an id that is no text of at most {LONGEST_KID} characters")
    _check_use(jwk)
    algorithms = _algorithms(jwk)
    content = json.dumps(jwk, sort_keys=True, separators=(",", ":"))
    for algorithm in algorithms:
        known = previous.get((algorithm, content))
        yield known or Key(kid, algorithm, content, _public_key(jwk, algorithm), is_implied="alg" not in jwk)


def _check_use(jwk: dict[str, Any]) -> None:
    """Raise ValueError if the key is private, secret, or not for verification (RFC 7517 sections 4.2, 4.3)."""
    if jwk.get("kty") == "oct":
        raise ValueError("is a shared secret")
    if not _PRIVATE.isdisjoint(jwk):
        raise ValueError("is a private key")
    if "use" in jwk and jwk["use"] != "sig":
        raise ValueError("is not for signatures")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("is not for verification")


def _algorithms(jwk: dict[str, Any]) -> tuple[str, ...]:
    """Return the algorithm of the key: its `alg`, or that of its type and curve. Raises ValueError if there is none."""
    kind = jwk.get("kty")
    curve = jwk.get("crv")
    if kind == "RSA":
        fitting: tuple[str, ...] = _RSA
    elif isinstance(kind, str) and isinstance(curve, str) and (kind, curve) in _CURVES:
        fitting = (_CURVES[kind, curve],)
    else:
        raise ValueError("has an unsupported type or curve")
    if "alg" not in jwk:
        return _RSA_DEFAULT if kind == "RSA" else fitting
    algorithm = "EdDSA" if jwk["alg"] == "Ed25519" else jwk["alg"]  # RFC 9864
    if algorithm not in fitting:
        raise ValueError("has an algorithm that is unsupported, or not for its type and curve")
    return (algorithm,)


def _public_key(jwk: dict[str, Any], algorithm: str) -> object:
    """Return the key of the cryptographic library. Raises ValueError for a malformed or weak key."""
    try:
        key: object = PyJWK(jwk, algorithm).key
    except (PyJWTError, TypeError, ValueError, KeyError):
        raise ValueError("is malformed") from None
    if isinstance(key, RSAPublicKey):
        _check_rsa(key)
    return key


def _check_rsa(key: RSAPublicKey) -> None:
    """Raise ValueError for a key that is weak, or whose verification is slow."""
    if not _SHORTEST_RSA <= key.key_size <= _LONGEST_RSA:
        raise ValueError(f"has {key.key_size} bits; expected {_SHORTEST_RSA} to {_LONGEST_RSA}")
    numbers = key.public_numbers()
    if numbers.n % 2 == 0:  # no product of two large primes
        raise ValueError("is malformed")
    if numbers.e < 3 or numbers.e % 2 == 0:
        raise ValueError("has a weak exponent")
    if numbers.e.bit_length() > _LONGEST_EXPONENT:
        raise ValueError(f"has an exponent of {numbers.e.bit_length()} bits; expected at most {_LONGEST_EXPONENT}")
