"""The judgement of signed tokens (RFC 7519, RFC 8725): all checks in order of their costs.

docs/why/tokens.md has the order and the costs: a token that fails before the signature costs none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gproxy.http.deadline import Deadline
from gproxy.http.identity import Claims
from gproxy.identity.errors import Untrusted
from gproxy.identity.tokens.claim_rules import ClaimValue, check_claims
from gproxy.identity.tokens.confirmation import required_thumbprint
from gproxy.identity.tokens.issuers import Issuers
from gproxy.identity.tokens.revocations import Revocations
from gproxy.identity.tokens.rules import TokenRules
from gproxy.identity.tokens.signatures import Signatures, UnverifiedToken, read_unverified


class PublicKey(Protocol):
    """A key of a key set, compared by identity, with its one algorithm."""

    @property
    def kid(self) -> str | None: ...
    def verify(self, signed: bytes, signature: bytes, /) -> bool: ...


class PublicKeys(Protocol):
    """The keys of one issuer, as one handler may use them."""

    def find(self, kid: str | None, algorithm: str, deadline: Deadline | None = None, /) -> Sequence[PublicKey]:
        """Return the keys that may have signed a token. Raises Untrusted, or Unavailable if the keys are missing."""


@dataclass(slots=True, repr=False)
class JudgedToken:
    """A good token.

    issuer: its claim `iss`, "" without one. key: the key of a key set that has signed it, if there is one; `kid` is its
    id. until: when this verdict ends, in seconds since the epoch. thumbprint: of the client certificate that the
    connection must have, "" for none.
    """

    claims: dict[str, Any]
    issuer: str
    kid: str | None
    key: PublicKey | None
    until: float
    thumbprint: str


class TokenJudge:
    """The judge of one handler's tokens.

    keys: keys by the name of their issuer in the settings; empty: the one key of `signatures` verifies all tokens.
    """

    def __init__(
        self,
        signatures: Signatures,
        issuers: Issuers,
        rules: TokenRules,
        demands: Mapping[str, ClaimValue],
        checks_binding: bool = True,
    ) -> None:
        self.signatures = signatures
        self.issuers = issuers
        self.keys: Mapping[str, PublicKeys] = {}
        self.revocations: Revocations | None = None
        self.rules = rules
        self.demands = demands
        self.checks_binding = checks_binding

    def judge(self, token: bytes, now: float, deadline: Deadline | None = None) -> JudgedToken:
        """Return the good token; `now` is in seconds since the epoch. Waits for keys until the deadline.

        Raises Untrusted for a bad token, and Unavailable if its keys are missing.
        """
        unverified = self.signatures.parse(token)
        claims = unverified.claims
        issuer = self.issuers.of(claims).name if self.issuers else ""
        self.rules.check(claims, unverified.header.typ, now)
        key = self._verify(unverified, issuer, deadline)
        kid = key.kid if key is not None else unverified.header.kid
        check_claims(self.demands, claims)
        thumbprint = required_thumbprint(claims) if self.checks_binding else ""
        if self.revocations is not None:
            self.revocations.check(claims, kid)
        return JudgedToken(claims, _issuer(claims), kid, key, self.rules.until(claims), thumbprint)

    def is_from_issuer(self, token: bytes) -> bool:
        """Return whether the token, unverified, claims to be from one of the issuers."""
        try:
            self.issuers.of(read_unverified(token)[1])
        except Untrusted:
            return False
        return True

    def _verify(self, token: UnverifiedToken, issuer: str, deadline: Deadline | None) -> PublicKey | None:
        """Return the key of a key set that has signed the token; None: the one configured key has."""
        if not self.keys:
            self.signatures.verify(token)
            return None
        header = token.header
        return self.signatures.verify_by(self.keys[issuer].find(header.kid, header.algorithm, deadline), token)


def kid_of(key: object) -> str | None:
    """Return the id of what has verified a token: a key of a key set, or the id that the token's header has."""
    kid = key if isinstance(key, str) else getattr(key, "kid", None)
    return kid if isinstance(kid, str) else None


def _issuer(claims: Claims) -> str:
    issuer = claims.get("iss")
    return issuer if isinstance(issuer, str) else ""
