"""Authentication by bearer tokens (RFC 6750, RFC 7519, RFC 8725).

Checks go from the cheapest to the dearest, so that a token costs a verified signature only if nothing else is wrong
with it. A good token is kept until it expires.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import ClassVar, TypeVar

from gproxy.config.types import Bytes, Seconds, Secret
from gproxy.http.identity import Claims, Identity
from gproxy.http.request import Request
from gproxy.identity.claims import Expected, as_field
from gproxy.identity.credential_identifier import CredentialIdentifier
from gproxy.identity.errors import Untrusted
from gproxy.identity.keys import public_key
from gproxy.identity.signatures import Signatures
from gproxy.identity.sources import BEARER, Source
from gproxy.runtime import Runtime
from gproxy.state.secret_file import kept_secret

T = TypeVar("T")

# The characters of a bearer token (RFC 6750 section 2.1).
_is_token = re.compile(r"[A-Za-z0-9._~+/-]+=*").fullmatch


@dataclass
class JWT(CredentialIdentifier):
    """Authentication: admits requests with a valid bearer token, and forwards claims in headers no client can set.

    The handler sets `request.user` to the claim `sub`, and `request.context["claims"]` to all claims, read-only.
    Raises HTTPError 401, 403 without the `role`, 400 for two Authorization fields.
    """

    kind: ClassVar[str] = "jwt"
    scheme: ClassVar[str] = "Bearer"
    wanted: ClassVar[str] = "a bearer token"
    given: ClassVar[str] = "the token"

    sources: tuple[Source, ...] = field(
        default=(BEARER,), metadata={"doc": "where the token may be: bearer, header:NAME, cookie:NAME, query:NAME"}
    )
    user: str | None = field(default="sub", metadata={"doc": "claim that names the user"})
    algorithms: tuple[str, ...] = field(
        default=("HS256",), metadata={"doc": "accepted algorithms: HS*; or RS*, PS*, ES*, EdDSA"}
    )
    secret: Secret | None = field(
        default=None, metadata={"doc": "secret for HS*; auto: generated and kept in [server] state_dir"}
    )
    key: Path | None = field(
        default=None, metadata={"doc": "PEM file with a public key or certificate, for all but HS*"}
    )
    leeway: Seconds = field(default=Seconds(0.0), metadata={"doc": "tolerated difference between clocks"})
    issuer: str | None = field(default=None, metadata={"doc": "required value of the claim iss"})
    audience: tuple[str, ...] = field(default=(), metadata={"doc": "values of which the claim aud must have one"})
    max_token: Bytes = field(
        default=Bytes(8192), metadata={"doc": "maximum length of a token; a longer one is rejected unread"}
    )
    cache: int = field(default=10_000, metadata={"doc": "maximum number of verified tokens in the cache; 0: no cache"})

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError. Read the key file here, so that `gproxy check` finds its problems."""
        super().__post_init__()
        if self.leeway < 0 or self.cache < 0:
            raise ValueError(f"{'leeway' if self.leeway < 0 else 'cache'}: is negative; expected 0 or more")
        self._expected = Expected(self.issuer, frozenset(self.audience), self.leeway)
        self._signatures = _option("algorithms", Signatures, self.algorithms)
        self._load_key()
        self.start_cache(self.cache)

    def open(self, runtime: Runtime) -> None:
        """Load an `auto` secret and start the cache. Raises ValueError if the secret cannot be kept."""
        super().open(runtime)
        if self._is_auto:
            path = runtime.state_dir / f"{re.sub('[^A-Za-z0-9._-]', '_', self.name)}.secret"
            self._signatures.use(_option("secret", kept_secret, path))
        if self._signatures.is_short:
            required = self._signatures.wanted
            runtime.log.warning("[handler:%s] secret: RFC 7518 requires at least %d bytes", self.name, required)
        self.start_cache(self.cache)

    def verify(self, credential: str, request: Request) -> Identity:  # noqa: ARG002
        """Return the identity that the token proves. Raises Untrusted."""
        if len(credential) > self.max_token:
            raise Untrusted(f"it exceeds the limit of {self.max_token} bytes")
        if not _is_token(credential):
            raise Untrusted("it is malformed")
        unverified = self._signatures.parse(credential.encode())
        claims = unverified.claims
        self._expected.check(claims, self._clock())
        self._signatures.verify(unverified)
        issuer = claims.get("iss")
        return Identity(claims=claims, issuer=issuer if isinstance(issuer, str) else "", expires=claims["exp"])

    def sign(self, claims: Claims, ttl: float, now: float) -> str:
        """Return a token that this handler accepts for `ttl` seconds from `now` (seconds since the epoch) on.

        Raises ValueError without HS* and a secret, and for claims that cannot be forwarded in a header.
        """
        for claim in self.forward:
            _check_forwardable(claims, claim)
        required = {"iss": self.issuer, "aud": self.audience[0] if self.audience else None}
        given = {claim: value for claim, value in required.items() if value is not None} | dict(claims)
        return self._signatures.sign(given | {"iat": int(now), "exp": ceil(now + ttl)})

    def _load_key(self) -> None:
        """Load `secret` or `key`, as the algorithms require; `open` loads an `auto` secret."""
        required, other = ("secret", "key") if self._signatures.symmetric else ("key", "secret")
        if getattr(self, other) is not None:
            raise ValueError(f"{other}: {self.algorithms[0]} does not use it; expected {required}")
        self._is_auto = False
        if self.secret is not None:
            self._is_auto = self.secret.reveal() == "auto"
            if not self._is_auto:
                _option("secret", self._signatures.use, self.secret.reveal())
        elif self.key is not None:
            _option("key", self._signatures.use, _option("key", public_key, self.key))
        else:
            expected = "auto, ${NAME} or file:PATH" if required == "secret" else "the path of a PEM file"
            raise ValueError(f"{required}: is missing; expected {expected}")


def _check_forwardable(claims: Claims, claim: str) -> None:
    try:
        as_field(claims, claim)
    except Untrusted as reason:
        raise ValueError(f"such a token would be rejected: {reason}") from None


def _option(name: str, make: Callable[..., T], *args: object) -> T:
    """Call `make`; prefix its ValueError with the name of the option."""
    try:
        return make(*args)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
