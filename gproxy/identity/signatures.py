"""Signed tokens (RFC 7515, RFC 7518): what one says, once its signature is found to be right.

Which algorithms and which key is said here and never by the token (RFC 8725 section 3.1): its `jku`, `x5u`, `jwk` and
`kid` are ignored, and an extension that it calls critical is refused.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from jwt import InvalidAlgorithmError, InvalidSignatureError, PyJWS, PyJWTError
from jwt.algorithms import HMACAlgorithm

#: RFC 7518 section 3.1 and RFC 8037. `none` is not among them, and nothing switches it on.
ALGORITHMS: Final = (
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
#: What hashes, by algorithm; a secret should have as many bytes as the hash (RFC 7518 section 3.2).
_HASHES: Final = {"HS256": HMACAlgorithm.SHA256, "HS384": HMACAlgorithm.SHA384, "HS512": HMACAlgorithm.SHA512}
#: Bytes below which a secret is guessed rather than known.
_SHORTEST_SECRET: Final = 16
#: PyJWT's own algorithms, which look at a key closely.
_PYJWT: Final = PyJWS()


class Untrusted(Exception):
    """No token, or not one to trust; the text says why, and nothing of the token."""


class _HS(HMACAlgorithm):
    """Its key was checked when it was given; PyJWT would check it, and warn of a short one, with every token."""

    def prepare_key(self, key: str | bytes) -> bytes:
        return key.encode() if isinstance(key, str) else key

    def check_key_length(self, key: bytes) -> str | None:  # noqa: ARG002
        return None


class Signatures:
    """Signatures by some algorithms with one key, which `use` gives. Raises ValueError for algorithms not to be had."""

    def __init__(self, algorithms: tuple[str, ...]) -> None:
        for algorithm in algorithms or ("",):
            if algorithm not in ALGORITHMS:
                raise ValueError(f"{algorithm!r} is not accepted; one of {', '.join(ALGORITHMS)} is expected")
        #: Is the key a shared secret, rather than a public key?
        self.symmetric = algorithms[0] in _HASHES
        if any((algorithm in _HASHES) != self.symmetric for algorithm in algorithms):
            raise ValueError("HS* and public-key algorithms don't mix: who knows the public key could sign with it")
        self.algorithms = algorithms
        self._key: Any = None
        self._jws = PyJWS([] if self.symmetric else algorithms)
        for algorithm in dict.fromkeys(algorithms) if self.symmetric else ():
            self._jws.register_algorithm(algorithm, _HS(_HASHES[algorithm]))

    def use(self, key: Any) -> None:
        """Sign and verify with this secret text or public key. Raises ValueError if it does not suit the algorithms."""
        for algorithm in self.algorithms:
            known = _PYJWT.get_algorithm_by_name(algorithm)
            try:
                weakness = known.check_key_length(known.prepare_key(key))
            except (PyJWTError, TypeError, ValueError):
                raise ValueError(f"it is no key for {algorithm}") from None
            if weakness and not self.symmetric:
                raise ValueError(weakness)
        if self.symmetric and len(key.encode()) < _SHORTEST_SECRET:
            raise ValueError(f"at least {_SHORTEST_SECRET} bytes are expected, and {self.wanted} are good")
        self._key = key.encode() if self.symmetric else key

    @property
    def wanted(self) -> int:
        """The bytes that RFC 7518 section 3.2 wants of a secret; 0 for public keys."""
        return max(_HASHES[algorithm]().digest_size if self.symmetric else 0 for algorithm in self.algorithms)

    @property
    def is_short(self) -> bool:
        """Has the secret less than that?"""
        return self.symmetric and self._key is not None and len(self._key) < self.wanted

    def verify(self, token: str) -> dict[str, Any]:
        """The claims of a token with a right signature; whether they hold is not looked at. Raises Untrusted."""
        try:
            decoded = self._jws.decode_complete(token, self._key, self.algorithms)
            claims = json.loads(decoded["payload"])
        except InvalidAlgorithmError:
            raise Untrusted("its algorithm is not accepted here") from None
        except InvalidSignatureError:
            raise Untrusted("its signature is wrong") from None
        except (PyJWTError, ValueError, TypeError, RecursionError):
            raise Untrusted("it is malformed") from None
        if not isinstance(claims, dict):
            raise Untrusted("it is malformed")
        if "crit" in decoded["header"]:
            raise Untrusted("it has a critical extension")
        return claims

    def sign(self, claims: Mapping[str, Any]) -> str:
        """A token with these claims. Raises ValueError without a secret: a public key signs nothing."""
        if not self.symmetric:
            raise ValueError(f"{self.algorithms[0]} tokens are signed with the private key, which the gateway has not")
        if self._key is None:
            raise ValueError("there is no secret yet; it is made when the handler is opened")
        return self._jws.encode(json.dumps(claims, separators=(",", ":")).encode(), self._key, self.algorithms[0])
