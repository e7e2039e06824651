"""Authentication by tokens about which their issuer is asked (RFC 7662): opaque ones, or ones that end when revoked."""

import re
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Final, Literal

from gproxy.config.types import Bytes, Rate, Seconds, Secret
from gproxy.http.identity import Claims, Identity
from gproxy.http.request import Request
from gproxy.identity.calls import Calls
from gproxy.identity.credential_cache import Judged
from gproxy.identity.credential_identifier import CredentialIdentifier, Verified
from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.identity.introspection import Client, Endpoint, LastGood, Method
from gproxy.identity.key_sets.discovery import check_issuer
from gproxy.identity.outcomes import Asked
from gproxy.identity.outgoing.urls import check_url
from gproxy.identity.sources import BEARER, Source
from gproxy.identity.tokens.claim_rules import ClaimValue, check_claims
from gproxy.identity.tokens.confirmation import check_connection, required_thumbprint
from gproxy.identity.tokens.options import ANY, option
from gproxy.identity.tokens.rules import TokenRules
from gproxy.runtime import Runtime

#: The characters of a bearer token (RFC 6750 section 2.1).
_is_token: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*").fullmatch
#: Seconds until an endpoint that has not answered is asked again about a token whose last answer still counts.
_PAUSE: Final = 1.0


@dataclass
class Introspect(CredentialIdentifier):
    """Authentication: admits requests with a bearer token that the introspection endpoint of its issuer calls active.

    The members of the endpoint's answer are the claims. Raises HTTPError 401 for other tokens, 503 if the endpoint does
    not answer, 403 without the `role`, 400 for two Authorization fields.
    """

    kind: ClassVar[str] = "introspect"
    scheme: ClassVar[str] = "Bearer"
    wanted: ClassVar[str] = "a bearer token"
    given: ClassVar[str] = "the token"

    sources: tuple[Source, ...] = field(
        default=(BEARER,), metadata={"doc": "where the token may be: bearer, header:NAME, cookie:NAME, query:NAME"}
    )
    user: str | None = field(default="sub", metadata={"doc": "claim that names the user"})
    max_failures: Rate | None = field(
        default=Rate.parse("30/minute"),
        metadata={"doc": "bad tokens that one client address may send; none: no limit"},
    )
    endpoint: str | None = field(
        default=None, metadata={"doc": "URL of the introspection endpoint; none: as the metadata of `issuer` say"}
    )
    issuer: str | None = field(
        default=None, metadata={"doc": "issuer of the tokens; an answer with another iss is rejected"}
    )
    client_id: str = field(default="", metadata={"doc": "name of the gateway at the endpoint"})
    client_secret: Secret | None = field(
        default=None, metadata={"doc": "secret of the gateway at the endpoint; with auth = bearer: its token"}
    )
    auth: Method = field(
        default="basic", metadata={"doc": "how the gateway authenticates: basic, post (in the body) or bearer"}
    )
    timeout: Seconds = field(
        default=Seconds(1.0), metadata={"doc": "longest wait for an answer, with the wait for the turn of the call"}
    )
    max_asking: int = field(default=32, metadata={"doc": "calls that run at the same time; further ones wait"})
    audience: tuple[str, ...] = field(
        default=(), metadata={"doc": "values of which the claim aud must have one; *: any, or no aud"}
    )
    clients: tuple[str, ...] = field(
        default=(), metadata={"doc": "values of which the claims azp and client_id must be, as far as they are present"}
    )
    claims: dict[str, ClaimValue] = field(
        default_factory=dict,
        metadata={"doc": "values that claims must have or contain, each CLAIM: VALUE; *: any; /REGEX/: a pattern"},
    )
    leeway: Seconds = field(default=Seconds(0.0), metadata={"doc": "tolerated difference between clocks"})
    bound: Literal["check", "ignore"] = field(
        default="check", metadata={"doc": "whether a token that is bound to a key of its client is good without proof"}
    )
    max_token: Bytes = field(
        default=Bytes(8192), metadata={"doc": "maximum length of a token; a longer one is rejected unread"}
    )
    cache: Seconds = field(
        default=Seconds(60.0),
        metadata={"doc": "how long a good answer counts, never past exp; 0s: ask for each request"},
    )
    stale: Seconds = field(
        default=Seconds(0.0), metadata={"doc": "how long a good answer counts beyond that while the endpoint is down"}
    )
    negative_cache: Seconds = field(
        default=Seconds(10.0), metadata={"doc": "how long an answer that the token is not active counts"}
    )

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError."""
        super().__post_init__()
        self._check_options()
        self._client = self._gateway_as_client()
        self._rules = TokenRules(
            audience=frozenset(self.audience) - {ANY},
            clients=frozenset(self.clients),
            leeway=self.leeway,
            requires_exp=False,
        )
        self._start_caches()

    def open(self, runtime: Runtime) -> None:
        """Start the caches. Raises ValueError for an endpoint that may not be asked; nothing is asked yet."""
        super().open(runtime)
        self.check_urls(insecure=runtime.outgoing.insecure)
        self._endpoint = Endpoint(runtime, self._client, url=self.endpoint, issuer=self.issuer)
        self._asked = Asked(runtime, self.name)
        self._start_caches()

    def check_urls(self, *, insecure: bool) -> None:
        """Raise ValueError for an endpoint or issuer that may not be asked, because of http:// beyond loopback."""
        if self.endpoint is not None:
            option("endpoint", partial(check_url, insecure=insecure), self.endpoint)
        elif self.issuer is not None:
            option("issuer", partial(check_issuer, insecure=insecure), self.issuer)

    def _start_caches(self) -> None:
        self.start_cache(rejected_for=self.negative_cache)
        self._calls: Calls[bytes, str, Claims] = Calls(
            self.ask, most=self.max_asking, timeout=self.timeout, check=self.failures.check
        )
        self._last_good = LastGood()

    def ask(self, token: str, seconds: float) -> Claims:
        """Return the members of the endpoint's answer about an active token, within so many seconds.

        Raises Untrusted for a token that is not active, and Unavailable without an answer about it.
        """
        with self._asked.timed():
            return self._endpoint.ask(token, seconds)

    def verify(self, credential: str, request: Request) -> Verified:
        """Return the identity of an active token. Raises Untrusted, and Unavailable if the endpoint does not answer."""
        if len(credential) > self.max_token:
            raise Untrusted(f"it exceeds the limit of {self.max_token} bytes")
        if not _is_token(credential):
            raise Untrusted("it is malformed")
        digest = self.digest(credential)
        try:
            verified = self._judge(self._calls.result(digest, credential, self.timeout, request))
        except Unavailable as reason:
            return self._kept(digest, reason)
        except Untrusted:
            self._last_good.forget(digest)
            raise
        if self.stale:
            until = min(self._clock() + self.cache + self.stale, self._rules.until(verified.identity.claims))
            self._last_good.keep(digest, verified, until)
        return verified

    def _judge(self, answer: Claims) -> Verified:
        """Return the identity that an answer gives. Raises Untrusted if the options want another one."""
        now = self._clock()
        issuer = answer.get("iss", self.issuer)
        if self.issuer is not None and issuer != self.issuer:
            raise Untrusted("its issuer is not the expected one")
        self._rules.check(answer, None, now)
        check_claims(self.claims, answer)
        thumbprint = required_thumbprint(answer) if self.bound == "check" else ""
        until = self._rules.until(answer)
        identity = Identity(claims=answer, issuer=issuer if isinstance(issuer, str) else "", expires=until)
        check = partial(check_connection, thumbprint) if thumbprint else None
        return Verified(identity, min(now + self.cache, until), check)

    def _kept(self, digest: bytes, reason: Unavailable) -> Verified:
        """Return the last good answer about a token, while `stale` lasts. Raises the reason if there is none."""
        now = self._clock()
        found = self._last_good.find(digest, now)
        if found is None:
            raise reason
        verified, until = found
        if self._warn is not None:
            self._warn(f"[handler:{self.name}]", "[handler:%s] kept answers are used: %s", self.name, reason)
        return verified._replace(until=min(until, now + _PAUSE))

    def complete(self, identity: Identity, size: int = 0) -> Judged:
        """Count the answer as well: the cache is bounded by bytes."""
        return super().complete(identity, size + len(str(identity.claims)))

    def _check_options(self) -> None:
        self.check_urls(insecure=True)
        if self.endpoint is None and self.issuer is None:
            raise ValueError("endpoint: is missing; expected a URL, or issuer with the URL of an issuer")
        if not self.audience:
            raise ValueError("audience: is missing; expected the names of this API at the issuer, or * for any token")
        if ANY in self.audience and len(self.audience) > 1:
            raise ValueError(f"audience: {ANY} admits any; expected it alone, or values without it")
        for name in ("cache", "stale", "negative_cache", "leeway"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: is negative; expected 0s or more")
        if self.timeout <= 0:
            raise ValueError("timeout: leaves no time for an answer; expected more than 0s")
        for name in ("max_asking", "max_token"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: admits none; expected 1 or more")

    def _gateway_as_client(self) -> Client:
        """Return the gateway as the endpoint sees it. Raises ValueError without what `auth` needs."""
        if self.client_secret is None:
            raise ValueError("client_secret: is missing; expected ${NAME} or file:PATH")
        if self.auth == "bearer" and self.client_id:
            raise ValueError("client_id: auth = bearer does not use it; expected client_secret alone")
        if self.auth != "bearer" and not self.client_id:
            raise ValueError("client_id: is missing; expected the name of the gateway at the endpoint")
        return Client(self.auth, self.client_id, self.client_secret)
