"""Authentication by bearer tokens (RFC 6750, RFC 7519, RFC 8725).

Checks go from the cheapest to the dearest, so that a token costs a verified signature only if nothing else is wrong
with it. A good token is kept until it expires.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from math import ceil
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn, TypeVar

from gproxy.config.types import Bytes, Seconds, Secret
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.header_names import HOP_BY_HOP, is_token
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.identity.claims import Claims, Expected, as_field, has_role, subject
from gproxy.identity.credential_cache import CredentialCache
from gproxy.identity.keys import public_key
from gproxy.identity.signatures import Signatures, Untrusted
from gproxy.runtime import Runtime
from gproxy.state.secret_file import kept_secret

T = TypeVar("T")

# RFC 6750 section 2.1; a scheme has no case (RFC 9110 section 11.1).
_bearer = re.compile(r"(?i:bearer) +([A-Za-z0-9._~+/-]+=*)").fullmatch
_is_quotable = re.compile(r"[ !#-\[\]-~]+").fullmatch


@dataclass(slots=True)
class _Verified:
    """A verified token, prepared for its requests; a field whose value is None is removed from the request."""

    user: str
    claims: Claims
    fields: list[tuple[str, str, str | None]]
    permitted: bool
    expires: float
    size: int
    recent_until: float = 0.0


@dataclass
class JWT:
    """Authentication: admits requests with a valid bearer token, and forwards claims in headers no client can set.

    The handler sets `request.user` to the claim `sub`, and `request.context["claims"]` to all claims, read-only.
    Raises HTTPError 401, 403 without the `role`, 400 for two Authorization fields.
    """

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
    role: str | None = field(default=None, metadata={"doc": "required value in the claim role or roles, else 403"})
    forward: dict[str, str] = field(
        default_factory=dict, metadata={"doc": "claims to forward to the backend, each CLAIM: HEADER"}
    )
    realm: str = field(default="gproxy", metadata={"doc": "realm in WWW-Authenticate"})
    max_token: Bytes = field(
        default=Bytes(8192), metadata={"doc": "maximum length of a token; a longer one is rejected unread"}
    )
    cache: int = field(default=10_000, metadata={"doc": "maximum number of verified tokens in the cache; 0: no cache"})

    #: The section's name; an `auto` secret is kept under it.
    name: str = field(init=False, default="jwt")
    #: In lower case: headers that the gateway removes from every request it receives, on any route.
    identity_headers: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError. Read the key file here, so that `gproxy check` finds its problems."""
        self._check_numbers_and_names()
        self._headers = [(claim, header, header.lower()) for claim, header in self.forward.items()]
        self.identity_headers = frozenset(key for _, _, key in self._headers)
        self._expected = Expected(self.issuer, frozenset(self.audience), self.leeway)
        self._signatures = _option("algorithms", Signatures, self.algorithms)
        self._load_key()
        self._start_cache(time.time)

    def open(self, runtime: Runtime) -> None:
        """Load an `auto` secret and start the cache. Raises ValueError if the secret cannot be kept."""
        if self._is_auto:
            path = runtime.state_dir / f"{re.sub('[^A-Za-z0-9._-]', '_', self.name)}.secret"
            self._signatures.use(_option("secret", kept_secret, path))
        if self._signatures.is_short:
            required = self._signatures.wanted
            runtime.log.warning("[handler:%s] secret: RFC 7518 requires at least %d bytes", self.name, required)
        self._start_cache(runtime.clock)

    def __call__(self, request: Request, next: Next) -> Response:
        authorization = request.headers.lookup("authorization")
        verified = self._recent.get(authorization)
        if verified is None or verified.recent_until <= self._clock():
            verified = self._look_up(request, authorization)
        if not verified.permitted:
            raise self._error(403, "insufficient_scope", "the token does not have the required role", "auth_scope")
        request.user = verified.user
        request.context["claims"] = verified.claims
        headers = request.headers
        for name, key, value in verified.fields:
            if value is None:
                headers.discard(key)
            else:
                headers.put(name, key, value)
        return next(request)

    def _look_up(self, request: Request, authorization: str | None) -> _Verified:
        match = _bearer(authorization) if authorization is not None else None
        if match is None:
            self._reject_credentials(request)
        if len(match[1]) > self.max_token:
            raise self._error(401, "invalid_token", f"the token exceeds the limit of {self.max_token} bytes")
        token, now = match[1].encode(), self._clock()
        digest = sha256(token).digest()
        verified = self._verified.find(match[0], digest, now)
        if verified is None:
            verified = self._verify(token, now)
            self._verified.keep(digest, verified, now)
        return verified

    def sign(self, claims: Claims, ttl: float, now: float) -> str:
        """Return a token that this handler accepts for `ttl` seconds from `now` (seconds since the epoch) on.

        Raises ValueError without HS* and a secret, and for claims that cannot be forwarded in a header.
        """
        for claim in self.forward:
            _check_forwardable(claims, claim)
        required = {"iss": self.issuer, "aud": self.audience[0] if self.audience else None}
        given = {claim: value for claim, value in required.items() if value is not None} | dict(claims)
        return self._signatures.sign(given | {"iat": int(now), "exp": ceil(now + ttl)})

    def _check_numbers_and_names(self) -> None:
        names = [header.lower() for header in self.forward.values()]
        for header in self.forward.values():
            if not is_token(header):
                raise ValueError(f"forward: {header!r} is not a header name; expected one such as X-User-ID")
            if header.lower() in HOP_BY_HOP | {"host", "authorization"}:
                raise ValueError(f"forward: {header!r} is a reserved header and cannot carry a claim")
            if names.count(header.lower()) > 1:
                raise ValueError(f"forward: {header} is used twice; expected one claim for each header")
        if not all(map(_is_quotable, self.forward)):
            raise ValueError("forward: invalid claim name; expected ASCII without quotes and backslashes")
        if not _is_quotable(self.realm):
            raise ValueError("realm: has invalid characters; expected ASCII without quotes and backslashes")
        if self.leeway < 0 or self.cache < 0:
            raise ValueError(f"{'leeway' if self.leeway < 0 else 'cache'}: is negative; expected 0 or more")

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

    def _start_cache(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._verified: CredentialCache[_Verified] = CredentialCache(self.cache)
        # PERF: one attribute for each request.
        self._recent = self._verified.recent

    def _verify(self, token: bytes, now: float) -> _Verified:
        try:
            unverified = self._signatures.parse(token)
            claims = unverified.claims
            self._expected.check(claims, now)
            self._signatures.verify(unverified)
            fields = [(header, key, as_field(claims, claim)) for claim, header, key in self._headers]
            user = subject(claims)
        except Untrusted as reason:
            raise self._error(401, "invalid_token", f"the token is rejected: {reason}") from None
        permitted = self.role is None or has_role(claims, self.role)
        return _Verified(user, MappingProxyType(claims), fields, permitted, claims["exp"], len(token))

    def _reject_credentials(self, request: Request) -> NoReturn:
        """Reject a request without a token; another scheme, or none, gets no error code (RFC 6750 section 3.1)."""
        fields = request.headers.all("authorization")
        if len(fields) > 1:
            raise self._error(400, "invalid_request", "several Authorization headers; expected one")
        if fields and fields[0].partition(" ")[0].lower() == "bearer":
            raise self._error(401, "invalid_token", "the token is malformed")
        challenge = {"WWW-Authenticate": f'Bearer realm="{self.realm}"'}
        raise HTTPError(401, "a bearer token is required", challenge, reason="auth_missing")

    def _error(self, status: int, code: str, description: str, reason: str = "auth_invalid") -> HTTPError:
        challenge = f'Bearer realm="{self.realm}", error="{code}", error_description="{description}"'
        return HTTPError(status, description, {"WWW-Authenticate": challenge}, reason=reason)


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
