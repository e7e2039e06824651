"""Signed tokens (RFC 7515, RFC 7518): their strict form, verification of the signature, and signing.

The settings and the key set choose algorithms and keys, never the token (RFC 8725 section 3.1): its `jku`, `x5u`, `x5c`
and `jwk` are ignored, and a token with a critical extension is rejected. docs/why/tokens.md has the costs.
"""

import hmac
import json
from binascii import a2b_base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from jwt import PyJWS, PyJWTError
from jwt.algorithms import HMACAlgorithm

from gproxy.config.types import SHORTEST_SECRET
from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.identity.tokens.strict_json import read_object

__all__ = ["ALGORITHMS", "Signatures", "Unavailable", "Untrusted", "UnverifiedToken"]

#: RFC 7518 section 3.1 and RFC 8037. `none` is not supported, and no option enables it.
ALGORITHMS: Final = (
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
#: RFC 9864 gives the algorithm of Ed25519 keys a name of its own.
_ALIASES: Final = {"Ed25519": "EdDSA"}
#: Algorithm → hash; a secret should have as many bytes as the hash (RFC 7518 section 3.2).
_HASHES: Final = {"HS256": HMACAlgorithm.SHA256, "HS384": HMACAlgorithm.SHA384, "HS512": HMACAlgorithm.SHA512}
#: PyJWT's algorithms: their strict checks of a key, and the cryptography.
_PYJWT: Final = PyJWS()
_BASE64URL: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
#: base64url → base64; what only base64 has becomes what neither has.
_TO_BASE64: Final = bytes.maketrans(b"-_+/=", b"+/!!!")
#: By the length modulo 4: the last characters that leave no bits over, or only zeros; and the padding of base64.
_ENDS: Final = (frozenset(_BASE64URL), frozenset(b""), frozenset(_BASE64URL[::16]), frozenset(_BASE64URL[::4]))
_PADDING: Final = (b"", b"", b"==", b"=")
#: The number of remembered headers: an issuer has one for each of its keys.
_HEADERS: Final = 64
#: Characters of the longest accepted `kid`; nothing bounds them in RFC 7515.
LONGEST_KID: Final = 256
_MALFORMED: Final = "it is malformed"
_WRONG_SIGNATURE: Final = "its signature is wrong"


class VerifyingKey(Protocol):
    """A public key with its one algorithm."""

    def verify(self, signed: bytes, signature: bytes) -> bool: ...


K = TypeVar("K", bound=VerifyingKey)


@dataclass(frozen=True, slots=True)
class TokenHeader:
    """The header of a token: its algorithm, the id of its key, and its type as `media_type` returns it."""

    algorithm: str
    kid: str | None
    typ: str | None


@dataclass(slots=True, repr=False)
class UnverifiedToken:
    """A token of accepted form and algorithm, whose `signature` of the bytes `signed` is not verified yet."""

    raw_header: bytes
    header: TokenHeader
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


class _HS(HMACAlgorithm):
    """HMAC without a key check per token: `use` checks the key once, and PyJWT would warn of a short one each time."""

    def prepare_key(self, key: str | bytes) -> bytes:
        return key.encode() if isinstance(key, str) else key

    def check_key_length(self, key: bytes) -> str | None:  # noqa: ARG002
        return None


class Signatures:
    """Signatures of some algorithms, with the one key that `use` sets or with keys of a key set.

    Raises ValueError for unsupported algorithms.
    """

    def __init__(self, algorithms: tuple[str, ...]) -> None:
        algorithms = tuple(_ALIASES.get(algorithm, algorithm) for algorithm in algorithms)
        for algorithm in algorithms or ("",):
            if algorithm not in ALGORITHMS:
                raise ValueError(f"{algorithm!r} is not accepted; one of {', '.join(ALGORITHMS)} is expected")
        #: True if the key is a shared secret, False if it is a public key.
        self.symmetric = algorithms[0] in _HASHES
        if any((algorithm in _HASHES) != self.symmetric for algorithm in algorithms):
            raise ValueError("HS* and public-key algorithms don't mix: anyone with the public key could sign tokens")
        self.algorithms = algorithms
        self._key: Any = None
        #: Algorithm → whether `sig` is the signature of these bytes; empty without a key.
        self._checks: dict[str, Callable[..., bool]] = {}
        #: The `alg` of a header → algorithm.
        self._accepted = {algorithm: algorithm for algorithm in algorithms}
        self._accepted |= {alias: name for alias, name in _ALIASES.items() if name in algorithms}
        #: PERF: headers of verified tokens, as they are on the wire.
        self._headers: dict[bytes, TokenHeader] = {}
        self._jws = PyJWS([] if self.symmetric else algorithms)
        for algorithm in dict.fromkeys(algorithms) if self.symmetric else ():
            self._jws.register_algorithm(algorithm, _HS(_HASHES[algorithm]))

    def use(self, key: str | bytes | PublicKeyTypes) -> None:
        """Set the secret or public key. Raises ValueError if it does not suit the algorithms."""
        for algorithm in self.algorithms:
            reference = _PYJWT.get_algorithm_by_name(algorithm)
            try:
                weakness = reference.check_key_length(reference.prepare_key(key))
            except (PyJWTError, TypeError, ValueError):
                raise ValueError(f"it is invalid; a key for {algorithm} is expected") from None
            if weakness and not self.symmetric:
                raise ValueError(weakness)
        key = key.encode() if isinstance(key, str) else key
        if isinstance(key, bytes) and len(key) < SHORTEST_SECRET:
            raise ValueError(
                f"it is too short; at least {SHORTEST_SECRET} bytes are expected, {self.wanted} are recommended"
            )
        if isinstance(key, Ed448PublicKey):
            self._accepted.pop("Ed25519", None)
        self._key = key
        self._checks = {algorithm: self._check(algorithm) for algorithm in self.algorithms}

    def _check(self, algorithm: str) -> Callable[..., bool]:
        """Return the check of a signature with the present key."""
        if self.symmetric:
            return partial(_is_mac, hmac.new(self._key, digestmod=_HASHES[algorithm]))
        reference = _PYJWT.get_algorithm_by_name(algorithm)
        return partial(reference.verify, key=reference.prepare_key(self._key))

    @property
    def has_key(self) -> bool:
        """Return whether one key, which `use` has set, verifies all tokens."""
        return self._key is not None

    @property
    def wanted(self) -> int:
        """The length in bytes that RFC 7518 section 3.2 requires of a secret; 0 for public keys."""
        return max(_HASHES[algorithm]().digest_size if self.symmetric else 0 for algorithm in self.algorithms)

    @property
    def is_short(self) -> bool:
        """Return whether the secret is shorter than `wanted`."""
        return self.symmetric and self._key is not None and len(self._key) < self.wanted

    def parse(self, token: bytes) -> UnverifiedToken:
        """Return the parts of a token, unverified. Raises Untrusted for another form or algorithm.

        The form is strict: three parts in base64url without padding, the first two JSON objects (RFC 7515 section 7.1).
        """
        try:
            header, payload, signature = token.split(b".", 3)
            judged = self._headers.get(header) or self._judge_header(header)
            signed = token[: -len(signature) - 1]
            return UnverifiedToken(header, judged, _json_object(payload), signed, _decode(signature))
        except ValueError:
            raise Untrusted(_MALFORMED) from None

    def _judge_header(self, header: bytes) -> TokenHeader:
        """Return the header. Raises Untrusted for other algorithms, and for critical extensions."""
        fields = _json_object(header)
        if "crit" in fields or "b64" in fields:
            # RFC 7797: b64 changes what is signed, and is not supported.
            raise Untrusted("it has a critical extension" if fields.get("crit") == ["b64"] else _MALFORMED)
        kid, typ, algorithm = fields.get("kid", ""), fields.get("typ", ""), fields.get("alg")
        if not isinstance(kid, str) or not isinstance(typ, str) or len(kid) > LONGEST_KID:
            raise Untrusted(_MALFORMED)
        if not isinstance(algorithm, str) or algorithm not in self._accepted:
            raise Untrusted("its algorithm is not accepted here")
        return TokenHeader(self._accepted[algorithm], fields.get("kid"), media_type(typ) if "typ" in fields else None)

    def verify(self, token: UnverifiedToken) -> None:
        """Raise Untrusted if the signature by the one key is wrong."""
        try:
            is_good = self._checks[token.header.algorithm](token.signed, sig=token.signature)
        except (PyJWTError, TypeError, ValueError):
            raise Untrusted(_MALFORMED) from None
        if not is_good:
            raise Untrusted(_WRONG_SIGNATURE)
        self._remember(token)

    def verify_by(self, keys: Iterable[K], token: UnverifiedToken) -> K:
        """Return the first of the keys whose signature the token has. Raises Untrusted if there is none."""
        for key in keys:
            if key.verify(token.signed, token.signature):
                self._remember(token)
                return key
        # Without `kid`, the issuer may just not have published the right key yet.
        raise Untrusted(_WRONG_SIGNATURE, lasting=token.header.kid is not None)

    def _remember(self, token: UnverifiedToken) -> None:
        if token.raw_header not in self._headers:
            if len(self._headers) >= _HEADERS:
                self._headers.clear()
            self._headers[token.raw_header] = token.header

    def sign(self, claims: Mapping[str, Any], typ: str = "JWT") -> str:
        """Return a signed token with these claims. Raises ValueError without a secret: a public key cannot sign."""
        if not self.symmetric:
            raise ValueError(f"the gateway cannot sign {self.algorithms[0]} tokens: it has only the public key")
        if self._key is None:
            raise ValueError("there is no secret yet; the handler creates it when it opens")
        payload = json.dumps(claims, separators=(",", ":")).encode()
        return self._jws.encode(payload, self._key, self.algorithms[0], headers={"typ": typ})


def media_type(typ: str) -> str:
    """Return the `typ` of a header in the form to compare: lower case, `application/` omitted (RFC 7515 4.1.9)."""
    short = typ.lower()
    return short.removeprefix("application/") if short.count("/") == 1 else short


def read_unverified(token: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of a token of strict form, without any check. Raises Untrusted for another form."""
    try:
        header, payload, signature = token.split(b".", 3)
        _decode(signature)
        return _json_object(header), _json_object(payload)
    except ValueError:
        raise Untrusted(_MALFORMED) from None


def _is_mac(keyed: hmac.HMAC, signed: bytes, sig: bytes) -> bool:
    """Return whether `sig` is the HMAC of the signed bytes. `keyed` has hashed the secret and nothing more."""
    # PERF: a copy costs 1.0 µs; `hmac.digest` and PyJWT, which prepare the key for each token, cost 1.6 and 1.5.
    mac = keyed.copy()
    mac.update(signed)
    return hmac.compare_digest(mac.digest(), sig)


def _decode(part: bytes) -> bytes:
    """Return the bytes of a base64url text without padding. Raises ValueError for a text that is not canonical.

    Each value has one text: otherwise anyone could make further good tokens of a good one (RFC 4648 section 3.5).
    """
    rest = len(part) % 4
    if part and part[-1] not in _ENDS[rest]:
        raise ValueError
    return a2b_base64(part.translate(_TO_BASE64) + _PADDING[rest], strict_mode=True)


def _json_object(part: bytes) -> dict[str, Any]:
    """Return the JSON object in a part of a token. Raises ValueError, also for a name that an object has twice."""
    return read_object(_decode(part))
