"""Access control by rules about the client, the request and its identity."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.trust import is_in
from gproxy.identity.rules.access_rules import AccessRules, Verdict
from gproxy.identity.rules.rule import Rule, Word


class Challenger(Protocol):
    """The part of an identity handler that names what a credential lacks. `scheme` is "" for one without challenges."""

    @property
    def scheme(self) -> str: ...
    def challenge(self, code: str = "", description: str = "", **more: str) -> str: ...


@dataclass
class Allow:
    """Access control: admits requests for which a rule of `allow` holds (all if it is empty), except those of `deny`.

    A rule is one word or more, all of which must hold. Words about the request: an address or network, `anyone`,
    `method:GET`, `route:NAME`. Words about its identity: `user` (any identity), `user:NAME`, `role:NAME`,
    `scope:NAME`, `issuer:URL`, `by:HANDLER`, `claim:NAME`, `claim:NAME=VALUE`; `HANDLER.role:NAME` tests the identity
    that another handler of the chain has found. A bar separates alternatives, as in `role:clerk|lead`. Double quotes
    enclose blanks, commas and bars.

    The client address is that which trusted proxies report. A peer on a unix socket is in no network. Raises HTTPError
    401 without an identity if one could help (403 if no identity handler has a challenge), else 403.
    """

    allow: tuple[Rule, ...] = field(
        default=(),
        metadata={"doc": "rules that admit a request, such as 10.0.0.0/8 or role:admin method:GET; empty: all"},
    )
    deny: tuple[Rule, ...] = field(
        default=(), metadata={"doc": "rules that reject a request, written in the same way; overrides allow"}
    )

    #: The identity handlers by name, set by build.py: a rejection for scopes has the challenge of one of them.
    challengers: Mapping[str, Challenger] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError without any rule: such a handler would admit every client."""
        if not self.allow and not self.deny:
            raise ValueError("allow: neither allow nor deny has a rule; expected networks such as 10.0.0.0/8, or rules")
        self.allow, self.deny = tuple(map(Rule.of, self.allow)), tuple(map(Rule.of, self.deny))
        self.rules = AccessRules(self.allow, self.deny)
        #: PERF: where only the address counts, the verdict on a client is kept.
        self._by_address = all(rule.networks for rule in (*self.allow, *self.deny))
        self._is_admitted = lru_cache(4096)(self._admits)
        self._networks = [[network for rule in rules for network in rule.networks] for rules in (self.allow, self.deny)]

    @property
    def rule_words(self) -> Iterator[tuple[str, int, Word]]:
        """Each word of the rules, with its option and the number of its rule from 0; for `gproxy check`."""
        for option, rules in (("allow", self.allow), ("deny", self.deny)):
            for number, rule in enumerate(rules):
                yield from ((option, number, word) for word in rule.words)

    @property
    def needs_identity(self) -> bool:
        """Return whether a rule tests the identity of requests."""
        return any(rule.is_about_identity for rule in (*self.allow, *self.deny))

    @property
    def rule_claims(self) -> frozenset[str]:
        """Return the names of the claims that rules test."""
        return frozenset(word.name for _, _, word in self.rule_words if word.kind == "claim")

    @property
    def rule_routes(self) -> frozenset[str]:
        """Return the names of the routes that rules test."""
        return frozenset(name for _, _, word in self.rule_words if word.kind == "route" for name in word.values)

    def __call__(self, request: Request, next: Next) -> Response:
        if not (self._is_admitted(request.client) if self._by_address else self.rules.admits(request)):
            raise self._rejection(request)
        return next(request)

    def _admits(self, client: str) -> bool:
        """Return whether the client is admitted by its address."""
        allow, deny = self._networks
        return not is_in(client, deny) and (not allow or is_in(client, allow))

    def _rejection(self, request: Request) -> HTTPError:
        verdict = self.rules.judge(request)
        if verdict.lacks == "identity":
            challenges = [("WWW-Authenticate", one) for one in request.context.get("challenges", ())]
            return HTTPError(401 if challenges else 403, "a credential is required", challenges, reason="auth_missing")
        if verdict.lacks == "scope":
            return self._scope_error(request, verdict)
        what = "client address" if self._by_address else "request"
        return HTTPError(403, f"{what} is not allowed", reason="forbidden")

    def _scope_error(self, request: Request, verdict: Verdict) -> HTTPError:
        """Return the error for an identity that lacks scopes of a rule (RFC 6750 section 3.1)."""
        detail = "the credential does not have the required scope"
        identity = request.identity
        challenger = self.challengers.get(verdict.handler or (identity.handler if identity else ""))
        headers = {}
        if challenger is not None and challenger.scheme:
            scope = " ".join(verdict.scopes)
            headers["WWW-Authenticate"] = challenger.challenge("insufficient_scope", detail, scope=scope)
        return HTTPError(403, detail, headers, reason="auth_scope")
