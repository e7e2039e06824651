"""Signed tokens (RFC 7515, RFC 7518): signing, and verification of the signature.

The settings choose algorithms and key, never the token (RFC 8725 section 3.1): its `jku`, `x5u`, `jwk` and `kid` are
ignored, and a token with a critical extension is rejected.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from jwt import InvalidAlgorithmError, InvalidSignatureError, PyJWS, PyJWTError
from jwt.algorithms import HMACAlgorithm

from gproxy.config.types import SHORTEST_SECRET

#: RFC 7518 section 3.1 and RFC 8037. `none` is not supported, and no option enables it.
ALGORITHMS: Final = (
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
#: Algorithm → hash; a secret should have as many bytes as the hash (RFC 7518 section 3.2).
_HASHES: Final = {"HS256": HMACAlgorithm.SHA256, "HS384": HMACAlgorithm.SHA384, "HS512": HMACAlgorithm.SHA512}
#: PyJWT's algorithms, for their strict checks of a key.
_PYJWT: Final = PyJWS()


class Untrusted(Exception):
    """A missing or rejected token; the text has the reason, and nothing of the token."""


class _HS(HMACAlgorithm):
    """HMAC without a key check per token: `use` checks the key once, and PyJWT would warn of a short one each time."""

    def prepare_key(self, key: str | bytes) -> bytes:
        return key.encode() if isinstance(key, str) else key

    def check_key_length(self, key: bytes) -> str | None:  # noqa: ARG002
        return None


class Signatures:
    """Signatures of some algorithms with one key, which `use` sets. Raises ValueError for unsupported algorithms."""

    def __init__(self, algorithms: tuple[str, ...]) -> None:
        for algorithm in algorithms or ("",):
            if algorithm not in ALGORITHMS:
                raise ValueError(f"{algorithm!r} is not accepted; one of {', '.join(ALGORITHMS)} is expected")
        #: True if the key is a shared secret, False if it is a public key.
        self.symmetric = algorithms[0] in _HASHES
        if any((algorithm in _HASHES) != self.symmetric for algorithm in algorithms):
            raise ValueError("HS* and public-key algorithms don't mix: anyone with the public key could sign tokens")
        self.algorithms = algorithms
        self._key: Any = None
        self._jws = PyJWS([] if self.symmetric else algorithms)
        for algorithm in dict.fromkeys(algorithms) if self.symmetric else ():
            self._jws.register_algorithm(algorithm, _HS(_HASHES[algorithm]))

    def use(self, key: str | PublicKeyTypes) -> None:
        """Set the secret text or public key. Raises ValueError if it does not suit the algorithms."""
        for algorithm in self.algorithms:
            reference = _PYJWT.get_algorithm_by_name(algorithm)
            try:
                weakness = reference.check_key_length(reference.prepare_key(key))
            except (PyJWTError, TypeError, ValueError):
                raise ValueError(f"it is invalid; a key for {algorithm} is expected") from None
            if weakness and not self.symmetric:
                raise ValueError(weakness)
        secret = key.encode() if self.symmetric and isinstance(key, str) else None
        if secret is not None and len(secret) < SHORTEST_SECRET:
            raise ValueError(
                f"it is too short; at least {SHORTEST_SECRET} bytes are expected, {self.wanted} are recommended"
            )
        self._key = key if secret is None else secret

    @property
    def wanted(self) -> int:
        """The length in bytes that RFC 7518 section 3.2 requires of a secret; 0 for public keys."""
        return max(_HASHES[algorithm]().digest_size if self.symmetric else 0 for algorithm in self.algorithms)

    @property
    def is_short(self) -> bool:
        """Return whether the secret is shorter than `wanted`."""
        return self.symmetric and self._key is not None and len(self._key) < self.wanted

    def verify(self, token: str) -> dict[str, Any]:
        """Return the claims of a token with a valid signature, without a check of the claims. Raises Untrusted."""
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
        """Return a signed token with these claims. Raises ValueError without a secret: a public key cannot sign."""
        if not self.symmetric:
            raise ValueError(f"the gateway cannot sign {self.algorithms[0]} tokens: it has only the public key")
        if self._key is None:
            raise ValueError("there is no secret yet; the handler creates it when it opens")
        return self._jws.encode(json.dumps(claims, separators=(",", ":")).encode(), self._key, self.algorithms[0])
