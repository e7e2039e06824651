"""Bearer tokens (RFC 6750, RFC 7519, RFC 8725): who it is, or 401.

A verified token is remembered under its digest until it expires: verifying costs more than all else a request does.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from math import ceil
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, NoReturn, TypeVar

from cachetools import TLRUCache

from gproxy.config.types import Bytes, Seconds, Secret
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.header_names import HOP_BY_HOP
from gproxy.http.headers import TOKEN
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.identity.claims import Claims, Expected, as_field, has_role, subject
from gproxy.identity.keys import public_key
from gproxy.identity.signatures import Signatures, Untrusted
from gproxy.runtime import Runtime
from gproxy.state.secret_file import kept_secret

T = TypeVar("T")

# RFC 6750 section 2.1; a scheme has no case (RFC 9110 section 11.1).
_bearer = re.compile(r"(?i:bearer) +([A-Za-z0-9._~+/-]+=*)").fullmatch
_is_quotable = re.compile(r"[ !#-\[\]-~]+").fullmatch
#: Clients that are found without asking the cache.
_RECENT = 256
_is_header_name = re.compile(f"{TOKEN}+").fullmatch


class _Verified(NamedTuple):
    """What a token says, prepared for the requests that bring it; a field without a value is removed."""

    user: str
    claims: Claims
    fields: list[tuple[str, str, str | None]]
    permitted: bool
    expires: float


def _until_expired(_digest: bytes, verified: _Verified, _now: float) -> float:
    return verified.expires


@dataclass
class JWT:
    """Admits requests with a valid bearer token, and tells the backend who it is by headers no client can set.

    Sets `request.user` to the claim `sub`, and `request.context["claims"]` to all claims, which are read-only.
    Raises HTTPError 401, 403 without the `role`, 400 for two Authorization fields.
    """

    algorithms: tuple[str, ...] = field(default=("HS256",), metadata={"doc": "accepted: HS*; or RS*, PS*, ES*, EdDSA"})
    secret: Secret | None = field(default=None, metadata={"doc": "for HS*; auto: made and kept in [server] state_dir"})
    key: Path | None = field(default=None, metadata={"doc": "for the others: a PEM file, public key or certificate"})
    leeway: Seconds = field(default=Seconds(0.0), metadata={"doc": "how far clocks may differ"})
    issuer: str | None = field(default=None, metadata={"doc": "the claim iss must be this"})
    audience: tuple[str, ...] = field(default=(), metadata={"doc": "the claim aud must have one of these"})
    role: str | None = field(default=None, metadata={"doc": "the claim role or roles must have this, else 403"})
    forward: dict[str, str] = field(default_factory=dict, metadata={"doc": "claims for the backend, claim: header"})
    realm: str = field(default="gproxy", metadata={"doc": "the realm in WWW-Authenticate"})
    max_token: Bytes = field(default=Bytes(8192), metadata={"doc": "a longer token is refused unread"})
    cache: int = field(default=10_000, metadata={"doc": "verified tokens remembered; 0: none"})

    #: The section's name; a secret of our own is kept under it.
    name: str = field(init=False, default="jwt")
    #: In lower case: what the gateway removes from every request that comes in, on any route.
    identity_headers: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Raises ValueError. The key file is read here, so that checking the configuration finds what is wrong."""
        self._check_numbers_and_names()
        self._headers = [(claim, header, header.lower()) for claim, header in self.forward.items()]
        self.identity_headers = frozenset(key for _, _, key in self._headers)
        self._expected = Expected(self.issuer, frozenset(self.audience), self.leeway)
        self._signatures = _option("algorithms", Signatures, self.algorithms)
        self._take_key()
        self._remember(time.time)

    def open(self, runtime: Runtime) -> None:
        """Raises ValueError if an `auto` secret cannot be kept."""
        if self._is_auto:
            path = runtime.state_dir / f"{re.sub('[^A-Za-z0-9._-]', '_', self.name)}.secret"
            self._signatures.use(_option("secret", kept_secret, path))
        if self._signatures.is_short:
            wanted = self._signatures.wanted
            runtime.log.warning("[handler:%s] secret: RFC 7518 wants at least %d bytes", self.name, wanted)
        self._remember(runtime.clock)

    def __call__(self, request: Request, next: Next) -> Response:  # noqa: A002
        authorization = request.headers.lookup("authorization")
        verified = self._recent.get(authorization)
        if verified is None or verified.expires <= self._clock():
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
            self._refuse_credentials(request)
        token = match[1]
        digest = sha256(token.encode()).digest()
        try:
            verified = self._verified[digest]
        except KeyError:
            verified = self._verify(token)
            if not self.cache:
                return verified
            self._verified[digest] = verified
        if len(self._recent) >= _RECENT:
            self._recent.clear()
        self._recent[authorization] = verified
        return verified

    def sign(self, claims: Claims, ttl: float, now: float) -> str:
        """A token that this handler accepts from `now` (seconds since the epoch) on for `ttl` seconds.

        Raises ValueError unless the algorithms are HS* and the secret is there, and for claims that no header can tell.
        """
        for claim in self.forward:
            _told(claims, claim)
        required = {"iss": self.issuer, "aud": self.audience[0] if self.audience else None}
        given = {claim: value for claim, value in required.items() if value is not None} | dict(claims)
        return self._signatures.sign(given | {"iat": int(now), "exp": ceil(now + ttl)})

    def _check_numbers_and_names(self) -> None:
        names = [header.lower() for header in self.forward.values()]
        for header in self.forward.values():
            if not _is_header_name(header) or header.lower() in HOP_BY_HOP | {"host", "authorization"}:
                raise ValueError(f"forward: {header!r} is no header that can tell a backend who it is")
            if names.count(header.lower()) > 1:
                raise ValueError(f"forward: {header} is given two claims")
        if not all(map(_is_quotable, self.forward)):
            raise ValueError("forward: a claim's name is ASCII without quotes and backslashes here")
        if not _is_quotable(self.realm):
            raise ValueError("realm: ASCII without quotes and backslashes is expected")
        if self.leeway < 0 or self.cache < 0:
            raise ValueError(f"{'leeway' if self.leeway < 0 else 'cache'}: 0 or more is expected")

    def _take_key(self) -> None:
        """One of `secret` and `key`, as the algorithms want it; an `auto` secret comes with `open`."""
        takes, other = ("secret", "key") if self._signatures.symmetric else ("key", "secret")
        if getattr(self, other) is not None:
            raise ValueError(f"{other}: {self.algorithms[0]} takes {takes} instead")
        self._is_auto = False
        if self.secret is not None:
            self._is_auto = self.secret.reveal() == "auto"
            if not self._is_auto:
                _option("secret", self._signatures.use, self.secret.reveal())
        elif self.key is not None:
            _option("key", self._signatures.use, _option("key", public_key, self.key))
        else:
            expected = "auto, ${NAME} or file:PATH" if takes == "secret" else "the path of a PEM file"
            raise ValueError(f"{takes}: is missing; expected {expected}")

    def _remember(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._verified: TLRUCache[bytes, _Verified] = TLRUCache(self.cache, _until_expired, clock)
        # PERF: those of the clients that are busy right now, found without hashing anything.
        self._recent: dict[str | None, _Verified] = {}

    def _verify(self, token: str) -> _Verified:
        if len(token) > self.max_token:
            raise self._error(401, "invalid_token", f"the token has more than {self.max_token} bytes")
        try:
            claims = self._signatures.verify(token)
            self._expected.check(claims, self._clock())
            fields = [(header, key, as_field(claims, claim)) for claim, header, key in self._headers]
            user = subject(claims)
        except Untrusted as reason:
            raise self._error(401, "invalid_token", f"the token is refused: {reason}") from None
        permitted = self.role is None or has_role(claims, self.role)
        return _Verified(user, MappingProxyType(claims), fields, permitted, claims["exp"])

    def _refuse_credentials(self, request: Request) -> NoReturn:
        """Who tries another scheme, or nothing, is told of ours without an error code (RFC 6750 section 3.1)."""
        fields = request.headers.all("authorization")
        if len(fields) > 1:
            raise self._error(400, "invalid_request", "there are several Authorization fields")
        if fields and fields[0].partition(" ")[0].lower() == "bearer":
            raise self._error(401, "invalid_token", "the token is malformed")
        challenge = {"WWW-Authenticate": f'Bearer realm="{self.realm}"'}
        raise HTTPError(401, "a bearer token is required", challenge, reason="auth_missing")

    def _error(self, status: int, code: str, description: str, reason: str = "auth_invalid") -> HTTPError:
        challenge = f'Bearer realm="{self.realm}", error="{code}", error_description="{description}"'
        return HTTPError(status, description, {"WWW-Authenticate": challenge}, reason=reason)


def _told(claims: Claims, claim: str) -> None:
    try:
        as_field(claims, claim)
    except Untrusted as reason:
        raise ValueError(f"such a token would be refused: {reason}") from None


def _option(name: str, make: Callable[..., T], *args: object) -> T:
    """Its ValueError is about this option."""
    try:
        return make(*args)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
