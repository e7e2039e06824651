"""Authentication by bearer tokens (RFC 6750, RFC 7519, RFC 8725).

`identity/tokens/judge.py` judges a token; a good one is kept until its verdict ends.
"""

import re
import secrets
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from math import ceil, inf
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from gproxy.config.types import Bytes, Seconds, Secret
from gproxy.http.identity import Claims, Identity
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.identity.credential_identifier import CredentialIdentifier, Verified
from gproxy.identity.errors import Untrusted
from gproxy.identity.examination import Check, Examination
from gproxy.identity.identifier import Identifier
from gproxy.identity.key_sets.key_choice import KeyChoice
from gproxy.identity.key_sets.key_sets import KeySets
from gproxy.identity.key_sets.key_source import KeySource
from gproxy.identity.key_sets.live_key_set import TrustedKeys
from gproxy.identity.key_sets.offline_keys import offline_keys
from gproxy.identity.sources import BEARER, Source, find_one
from gproxy.identity.tokens.claim_rules import ClaimValue
from gproxy.identity.tokens.confirmation import check_connection
from gproxy.identity.tokens.examination import Keys, examine, facts
from gproxy.identity.tokens.issuers import Issuer, Issuers
from gproxy.identity.tokens.judge import TokenJudge, kid_of
from gproxy.identity.tokens.options import option, token_rules
from gproxy.identity.tokens.protected_resource import ProtectedResource
from gproxy.identity.tokens.revocations import Revocations, parse_revocations
from gproxy.identity.tokens.rules import AT_JWT
from gproxy.identity.tokens.signatures import read_unverified
from gproxy.identity.watched_file import WatchedFile
from gproxy.runtime import Runtime
from gproxy.state.secret_file import kept_secret


@dataclass
class JWT(CredentialIdentifier):
    """Authentication: admits requests with a valid bearer token, and forwards claims in headers no client can set.

    The handler sets `request.identity`, `request.user` to the claim `sub`, and `request.context["claims"]` to all
    claims, read-only. Raises HTTPError 401, 403 without the `role`, 400 for two Authorization fields.
    """

    kind: ClassVar[str] = "jwt"
    scheme: ClassVar[str] = "Bearer"
    wanted: ClassVar[str] = "a bearer token"
    given: ClassVar[str] = "the token"

    sources: tuple[Source, ...] = field(
        default=(BEARER,), metadata={"doc": "where the token may be: bearer, header:NAME, cookie:NAME, query:NAME"}
    )
    user: str | None = field(default="sub", metadata={"doc": "claim that names the user"})
    secret: Secret | None = field(
        default=None, metadata={"doc": "secret for HS*; auto: generated and kept in [server] state_dir"}
    )
    key: Path | None = field(
        default=None, metadata={"doc": "PEM file with a public key or certificate, for all but HS*"}
    )
    algorithms: tuple[str, ...] = field(
        default=("auto",),
        metadata={"doc": "accepted algorithms; auto: HS256 with a secret, else RS256, PS256, ES256, ES384 and EdDSA"},
    )
    issuer: tuple[Issuer, ...] = field(
        default=(),
        metadata={
            "doc": "values of which iss must be one; the place of its key set may follow: jwks=URL, jwks=file:PATH"
        },
    )
    jwks: KeySource | None = field(
        default=None,
        metadata={"doc": "key set of the issuer, URL or file:PATH; none: named by the metadata of the issuer"},
    )
    jwks_refresh: Seconds = field(default=Seconds(300.0), metadata={"doc": "time between two fetches of a key set"})
    jwks_stale: Seconds = field(
        default=Seconds(86_400.0), metadata={"doc": "time for which a key set is used that cannot be fetched again"}
    )
    audience: tuple[str, ...] = field(
        default=(),
        metadata={"doc": "values of which aud must have one; *: any, or no aud; required with key sets"},
    )
    clients: tuple[str, ...] = field(
        default=(), metadata={"doc": "values of which the claims azp and client_id must be, as far as they are present"}
    )
    claims: dict[str, ClaimValue] = field(
        default_factory=dict,
        metadata={"doc": "values that claims must have or contain, each CLAIM: VALUE; *: any; /REGEX/: a pattern"},
    )
    typ: str | None = field(
        default=None,
        metadata={"doc": "required type of token; at+jwt: with the claims of RFC 9068; none: no type, JWT or at+jwt"},
    )
    leeway: Seconds = field(default=Seconds(0.0), metadata={"doc": "tolerated difference between clocks"})
    max_lifetime: Seconds | None = field(
        default=None, metadata={"doc": "longest time until the expiry date; none: no limit"}
    )
    max_age: Seconds | None = field(
        default=None, metadata={"doc": "longest time since the date of issue iat; none: no limit, and no iat needed"}
    )
    bound: Literal["check", "ignore"] = field(
        default="check", metadata={"doc": "whether a token that is bound to a key of its client is good without proof"}
    )
    revoked: Path | None = field(
        default=None,
        metadata={"doc": "file of revocations, with lines jti VALUE, sub VALUE [before DATE], kid VALUE"},
    )
    resource: str | None = field(
        default=None, metadata={"doc": "URL of what the tokens are for; clients find its metadata (RFC 9728)"}
    )
    max_token: Bytes = field(
        default=Bytes(8192), metadata={"doc": "maximum length of a token; a longer one is rejected unread"}
    )
    cache: int = field(default=10_000, metadata={"doc": "maximum number of verified tokens in the cache; 0: no cache"})

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError. Read the files here, so that `gproxy check` finds their problems."""
        super().__post_init__()
        self._check_sizes()
        self._rules = token_rules(
            audience=self.audience,
            clients=self.clients,
            typ=self.typ,
            leeway=self.leeway,
            max_lifetime=self.max_lifetime,
            max_age=self.max_age,
        )
        self._keys = KeyChoice.of(self.secret, self.key, self.jwks, self.issuer)
        self._signatures = self._keys.signatures(self.algorithms)
        #: What `gproxy check` warns of, each with its option.
        self.warnings = self._check_key_sets()
        issuers = option("issuer", Issuers, self.issuer)
        self.token_judge = TokenJudge(
            self._signatures, issuers, self._rules, self.claims, checks_binding=self.bound == "check"
        )
        self._too_long = f"it exceeds the limit of {self.max_token} bytes"
        self._resource = self._protected_resource()
        self.own_path = self._resource.path if self._resource else ""
        self._watch: WatchedFile[Revocations] | None = None
        if self.revoked is not None:
            self._watch = WatchedFile("revoked", self.revoked, parse_revocations, self._revoke)
            self.token_judge.revocations = self._watch.content
        self.start_cache(self.cache)

    def open(self, runtime: Runtime) -> None:
        """Load an `auto` secret, start to fetch key sets, and start the cache.

        Raises ValueError if the secret cannot be kept, or if a key set may not be fetched.
        """
        super().open(runtime)
        if self._keys.is_auto:
            self._signatures.use(option("secret", kept_secret, self._secret_path(runtime.state_dir)))
        if self._signatures.is_short:
            required = self._signatures.wanted
            runtime.log.warning("[handler:%s] secret: RFC 7518 requires at least %d bytes", self.name, required)
        if self._watch is not None:
            self._watch.open(runtime, f"handler:{self.name}")
        self.start_cache(self.cache)
        self.check_urls(insecure=runtime.outgoing.insecure)
        self.token_judge.keys = {name: self._trust(source, runtime) for name, source in self._keys.sources.items()}

    def check_urls(self, *, insecure: bool) -> None:
        """Raise ValueError for a key set that may not be fetched, because of http:// beyond loopback."""
        for source in self._keys.sources.values():
            option("jwks" if self.jwks else "issuer", partial(source.require, insecure=insecure))

    def _trust(self, source: KeySource, runtime: Runtime) -> TrustedKeys:
        """Return the live keys of a place, whose withdrawal ends the verdicts on their tokens."""
        return runtime.single(KeySets).of(
            source,
            algorithms=self._signatures.algorithms,
            refresh=self.jwks_refresh,
            stale=self.jwks_stale,
            withdrawn=lambda keys: self.forget(lambda judged: judged.key in keys),
        )

    def close(self) -> None:
        """Stop to watch the file of `revoked`."""
        if self._watch is not None:
            self._watch.close()

    def document(self) -> Response:
        """Return the metadata of `resource` (RFC 9728 section 3.2)."""
        return super().document() if self._resource is None else self._resource.response()

    def recognises(self, request: Request, taken: Collection[Source] = ()) -> bool:  # noqa: ARG002
        """Return whether the request has a token of three parts that claims to be from one of the issuers."""
        if request.headers.lookup(self._key) in self._recent:
            return True
        found = find_one(self.sources, request)
        if found is None or found[1].count(".") != 2:
            return False
        return not self.issuer or self.token_judge.is_from_issuer(found[1].encode())

    def takes_all(self, source: Source, taken: Collection[Source], other: Identifier) -> bool:  # noqa: ARG002
        """Return whether `other` has the source for tokens, and of the issuers of this handler only."""
        if source not in self.sources or not isinstance(other, JWT):
            return False
        return not self.issuer or (bool(other.issuer) and _names(other.issuer) <= _names(self.issuer))

    def challenge(self, code: str = "", description: str = "", **more: str) -> str:
        """Return the value of WWW-Authenticate, with the URL of the resource's metadata (RFC 9728 section 5.1)."""
        if self._resource is not None:
            more["resource_metadata"] = self._resource.url
        return super().challenge(code, description, **more)

    def verify(self, credential: str, request: Request) -> Verified:
        """Return the identity that the token proves. Raises Untrusted, and Unavailable without keys."""
        if len(credential) > self.max_token:
            raise Untrusted(self._too_long)
        token = self.token_judge.judge(credential.encode(), self._clock(), request.deadline)
        claims = token.claims
        identity = Identity(claims=MappingProxyType(claims), issuer=token.issuer, expires=token.until)
        check = partial(check_connection, token.thumbprint) if token.thumbprint else None
        return Verified(identity, token.until, check, token.key or token.kid)

    def examine(self, credential: str, keys: Keys | None = None) -> Examination:
        """Return all checks of the token, and what it claims; `keys` are known keys by the name of their issuer."""
        if len(credential) > self.max_token:
            text = f"{len(credential)} bytes; at most {self.max_token} are accepted"
            return Examination([Check("size", False, text, self._too_long)])
        checks = examine(credential, self.token_judge, self._clock(), keys)
        if not checks[0].holds:
            return Examination(checks)
        claims = read_unverified(credential.encode())[1]
        of_identity, identity = self.examine_identity(Identity(claims=claims, expires=claims.get("exp", inf)))
        return Examination([*checks, *of_identity], facts(credential), identity)

    @property
    def key_sources(self) -> Mapping[str, KeySource]:
        """The places of key sets by the names of their issuers."""
        return self._keys.sources

    @property
    def accepted_algorithms(self) -> tuple[str, ...]:
        """The algorithms that a token may have."""
        return self._signatures.algorithms

    def known_keys(self, state_dir: Path) -> Keys:
        """Return the keys that are known without asking an issuer, by its name. Use the `auto` secret if it is kept.

        A command uses this instead of `open`; it creates nothing.
        """
        path = self._secret_path(state_dir)
        if self._keys.is_auto and path.exists():
            with suppress(ValueError):  # of another user
                self._signatures.use(kept_secret(path))
        return offline_keys(self._keys.sources, self._signatures.algorithms, state_dir)

    def _secret_path(self, state_dir: Path) -> Path:
        return state_dir / f"{re.sub('[^A-Za-z0-9._-]', '_', self.name)}.secret"

    def sign(self, claims: Claims, ttl: float, now: float) -> str:
        """Return a token that this handler accepts for `ttl` seconds from `now` (seconds since the epoch) on.

        The required claims are added. Raises ValueError without HS* and a secret, and for claims that are not accepted.
        """
        expires = ceil(now + ttl)
        if self.max_lifetime is not None and ttl <= self.max_lifetime:
            expires = min(expires, int(now + self.max_lifetime))
        given = self._required_claims() | dict(claims) | {"iat": int(now), "exp": expires}
        token = self._signatures.sign(given, self.typ or "JWT")
        try:
            judged = self.token_judge.judge(token.encode(), now)
            self.complete(Identity(claims=judged.claims))
        except Untrusted as reason:
            raise ValueError(f"such a token would be rejected: {reason}") from None
        return token

    def _required_claims(self) -> dict[str, Any]:
        """Return values of the claims that the options require, as far as the options tell them."""
        names = [issuer.name for issuer in self.issuer if not issuer.places]
        found: dict[str, Any] = {name: one.text for name, one in self.claims.items() if one.is_text}
        found |= {"iss": names[0]} if names else {}
        found |= {"aud": self.audience[0]} if self.audience and "*" not in self.audience else {}
        found |= {"client_id": self.clients[0]} if self.clients else {}
        if self._rules.typ == AT_JWT:
            found = {"client_id": "gproxy", "jti": secrets.token_hex(16)} | found
        return found

    def _check_sizes(self) -> None:
        if self.cache < 0:
            raise ValueError("cache: is negative; expected 0 or more")
        if self.max_token < 1:
            raise ValueError("max_token: admits no token; expected a size such as 8KiB")

    def _check_key_sets(self) -> list[tuple[str, str]]:
        """Check the options of key sets, and return warnings. Reads key sets in files. Raises ValueError."""
        if self.jwks_refresh < 1:
            raise ValueError("jwks_refresh: is too short; expected 1s or more")
        if self.jwks_stale < self.jwks_refresh:
            raise ValueError("jwks_stale: is shorter than jwks_refresh; expected more")
        sources = self._keys.sources
        if sources and not self.audience:
            expected = "expected values of aud, or * for any"
            raise ValueError(f"audience: is required: an issuer signs tokens for other applications too; {expected}")
        name = "jwks" if self.jwks else "issuer"
        found = [option(name, source.check, self._signatures.algorithms) for source in sources.values()]
        return [(name, warning) for warnings in found for warning in warnings]

    def _protected_resource(self) -> ProtectedResource | None:
        if self.resource is None:
            return None
        if BEARER not in self.sources:
            raise ValueError("resource: its clients send tokens in Authorization; expected bearer in sources")
        issuers = [issuer.name for issuer in self.issuer if issuer.name.startswith("http") and not issuer.places]
        return option("resource", ProtectedResource, self.resource, issuers, self.scope)

    def _revoke(self, revocations: Revocations) -> None:
        """Take the changed content of the file of `revoked`."""
        self.token_judge.revocations = revocations
        self.forget(lambda judged: revocations.revokes(judged.identity.claims, kid_of(judged.key)))


def _names(issuers: tuple[Issuer, ...]) -> frozenset[str]:
    return frozenset(issuer.name for issuer in issuers)
