"""The base class of identity handlers: what they share, whatever the credential is.

An identity handler turns the credential of a request into an identity, or rejects the request. It removes the
credential, sets the headers that the backend trusts, and lets the rest of the chain know the identity.
"""

import base64
import json
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType
from typing import ClassVar, Final, Literal

from gproxy.config.types import Rate
from gproxy.config.types.origin import Origin
from gproxy.http.announce_identity import announce_identity
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.header_names import NOT_IDENTITY, is_token
from gproxy.http.identity import Claims, Identity
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.identity.claims import as_field, check_end, is_quotable, subject, words
from gproxy.identity.credential_cache import Judged
from gproxy.identity.cross_site import reject_cross_site
from gproxy.identity.errors import Answered, Unavailable, Untrusted
from gproxy.identity.examination import Check, Examination, beside, log_rejection
from gproxy.identity.failures import Failures, Turn
from gproxy.identity.outcomes import Outcomes
from gproxy.identity.sources import Source, find_one
from gproxy.identity.stream_end import StreamEnd
from gproxy.runtime import Runtime

#: Name, key and value of a header; None: it is removed.
_Field = tuple[str, str, str | None]
#: Seconds that a credential waits for its turn while others of its client are judged.
_PATIENCE: Final = 10.0


@dataclass(kw_only=True)
class Identifier:
    """An identity handler: admits requests whose credential gives an identity, and tells the backend who it is.

    A subclass has the method `identify`. The handler sets `request.identity` and `request.user`; in `request.context`
    it sets `claims` and, by handler name, `identities`. Raises HTTPError 401 (403 for credentials without a challenge
    in HTTP) without a credential unless `optional`, 401 for a bad one, 400 for several, 403 without `role` and `scope`.
    """

    #: The kind of the handler, in identities and metrics; "": the name of the class.
    kind: ClassVar[str] = ""
    #: The scheme of the challenge (RFC 9110 section 11.6.1); "": HTTP has none for such a credential.
    scheme: ClassVar[str] = "Session"
    #: What a request without a credential lacks, and what is rejected, in texts for clients.
    wanted: ClassVar[str] = "a credential"
    given: ClassVar[str] = "the credential"
    #: True if the handler judges requests without a credential too, so that it can only be the last of an `any_of`.
    judges_all: ClassVar[bool] = False

    sources: tuple[Source, ...] = field(
        default=(),
        metadata={"doc": "where the credential may be: bearer, basic, header:NAME, cookie:NAME, query:NAME, tls"},
    )
    optional: bool = field(
        default=False,
        metadata={"doc": "admit requests without a credential too; a bad credential is rejected all the same"},
    )
    user: str | None = field(
        default=None, metadata={"doc": "claim that names the user; none: the user that the credential names"}
    )
    realm: str = field(default="gproxy", metadata={"doc": "realm in WWW-Authenticate"})
    forward: dict[str, str] = field(
        default_factory=dict, metadata={"doc": "claims to forward to the backend, each CLAIM: HEADER"}
    )
    payload: str | None = field(
        default=None, metadata={"doc": "header that forwards all claims, as JSON in base64url without padding"}
    )
    pass_on: bool = field(
        default=False, metadata={"doc": "forward the header, cookie or parameter with the credential too"}
    )
    role_claims: tuple[str, ...] = field(default=("role", "roles"), metadata={"doc": "claims with the roles"})
    scope_claims: tuple[str, ...] = field(default=("scope", "scp"), metadata={"doc": "claims with the scopes"})
    role: str | None = field(default=None, metadata={"doc": "role that the identity must have, else 403"})
    scope: tuple[str, ...] = field(default=(), metadata={"doc": "scopes that the identity must all have, else 403"})
    cross_site: Literal["refuse", "allow"] = field(
        default="refuse", metadata={"doc": "what becomes of requests with a cookie from pages of other sites"}
    )
    origins: tuple[Origin, ...] = field(
        default=(), metadata={"doc": "origins of other sites whose pages may send requests with the cookie"}
    )
    max_failures: Rate | None = field(
        default=None, metadata={"doc": "bad credentials that one client address may send; none: no limit"}
    )
    end_streams: bool = field(
        default=False, metadata={"doc": "end tunnels and endless responses when the identity expires"}
    )

    #: The section's name.
    name: str = field(init=False, default="")
    #: In lower case: headers that the gateway removes from every request it receives, on any route.
    identity_headers: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError. A subclass with a `__post_init__` of its own calls this one too."""
        self.name = self.name or self._kind
        _check_forward(self.forward, self.payload)
        if not is_quotable(self.realm):
            raise ValueError("realm: has invalid characters; expected ASCII without quotes and backslashes")
        if not all(map(is_quotable, self.scope)):
            raise ValueError("scope: has an invalid scope; expected ASCII without quotes and backslashes")
        self._headers = [(claim, header, header.lower()) for claim, header in self.forward.items()]
        self.identity_headers = frozenset(key for _, _, key in self._headers) | (
            {self.payload.lower()} if self.payload else frozenset()
        )
        #: What is removed from each request; the forwarder removes Authorization.
        self.removed = tuple(one for one in self.sources if one.is_removable and not self.pass_on)
        self._in_url = tuple(one for one in self.sources if one.is_in_url)
        #: PERF: one look for each request.
        self._does_more = bool(self.removed or self._in_url or self.end_streams)
        #: The path of a document that the handler itself answers, on its routes; "" for none.
        self.own_path = ""
        self._clock: Callable[[], float] = time.time
        self._warn: Callable[..., None] | None = None
        #: Counts the bad credentials of each client address.
        self.failures = Failures(self.max_failures)
        #: The numbers of requests, for the metrics.
        self.outcomes = Outcomes()

    @property
    def _kind(self) -> str:
        return self.kind or type(self).__name__

    def open(self, runtime: Runtime) -> None:
        """Take the clock and the log of the process. A subclass with an `open` of its own calls this one too."""
        self._clock = runtime.clock
        self._warn = runtime.throttle.warn
        self.failures.open(runtime, self.name)
        self.outcomes.watch(runtime, self.name)

    def identify(self, request: Request) -> Identity | None:
        """Return the identity that the request proves; None without a credential of this kind.

        Raises HTTPError, mostly 401 for a bad credential. The method may block.
        """
        raise NotImplementedError

    def __call__(self, request: Request, next: Next) -> Response:
        try:
            judged = self.judged(request)
        except Answered as answered:
            return answered.response
        return self.admit_without_credential(request, next) if judged is None else self.admit(request, judged, next)

    def document(self) -> Response:
        """Return the document at `own_path`, which needs no credential."""
        raise NotImplementedError

    def recognises(self, request: Request, taken: Collection[Source] = ()) -> bool:  # noqa: ARG002
        """Return whether this handler is the one to judge the request, among several in an `any_of`.

        Without sources only `identify` knows: if it returns None, the next member has its turn. `taken` are the sources
        of the members before this one, which have not recognised the request.
        """
        return not self.sources or self.has_content(request)

    def takes_all(self, source: Source, taken: Collection[Source], other: "Identifier") -> bool:  # noqa: ARG002
        """Return whether nothing in the source is left for `other`, a later member of an `any_of`.

        `taken` are the sources of the members before this one. If `identify` returns None, a later one has its turn.
        """
        return False

    def has_content(self, request: Request) -> bool:
        """Return whether a source has content. Raises HTTPError 400 if two of them have."""
        return find_one(self.sources, request) is not None

    def find_credential(self, request: Request) -> str | None:
        """Return the credential. Raises HTTPError 400 for several, 403 for a cookie from a page of another site."""
        try:
            found = find_one(self.sources, request)
        except HTTPError as error:
            raise self.with_challenge(error) from None
        if found is None:
            return None
        source, credential = found
        if source.is_ambient and self.cross_site == "refuse":
            reject_cross_site(request, self.origins)
        return credential

    def judged(self, request: Request) -> Judged | None:
        """Return what `judge` returns; count and log a rejection. Raises HTTPError, and Answered."""
        try:
            return self.judge(request)
        except HTTPError as error:
            cause = error.__cause__
            self.outcomes.count(error.reason, expired=isinstance(cause, Untrusted) and cause.expired)
            if error.reason != "auth_unavailable":
                self.log_rejection(request, error.detail)
            raise

    def log_rejection(self, request: Request, reason: str) -> None:
        """Log at debug level why the credential of the request is rejected."""
        contents = (source.find(request) for source in self.sources)
        with suppress(HTTPError):  # several credentials, of which the reason speaks
            log_rejection(request, self.name, reason, next(filter(None, contents), None), self.examine)

    def examine(self, credential: str) -> Examination:  # noqa: ARG002
        """Return all checks of the credential, and what it claims; nothing if only a request can tell.

        The method fetches nothing and waits for nothing.
        """
        return Examination()

    def examine_identity(self, identity: Identity) -> tuple[list[Check], Identity | None]:
        """Return the complete identity, and whether it can be forwarded and has the required role and scopes."""
        try:
            whole = self.complete(identity).identity
        except Untrusted as reason:
            return [Check("forward", False, reason=str(reason))], None
        demands = [("role", {self.role}, whole.roles)] if self.role is not None else []
        demands += [("scope", {*self.scope}, whole.scopes)] if self.scope else []
        checks = [
            Check(name, found.issuperset(required), beside(sorted(map(str, required)), sorted(found), "and"))
            for name, required, found in demands
        ]
        return checks, whole

    def judge(self, request: Request) -> Judged | None:
        """Return the judged credential, None without one. Raises HTTPError for a bad one."""
        if self.sources and self.find_credential(request) is None:
            turns = self.failures.counted(request, Turn())
        else:
            turns = self.failures.turn(request, min(_PATIENCE, request.deadline.remaining()))
        with turns as turn:
            try:
                identity = self.identify(request)
                if identity is None:
                    return None
                check_end(identity.expires, self._clock())
                return self.complete(identity)
            except Untrusted as reason:
                turn.is_bad = True
                raise self.rejection(str(reason)) from reason
            except Unavailable as reason:
                raise self.unavailable(str(reason)) from reason
            except HTTPError as error:
                turn.is_bad = error.status == 401
                raise self.with_challenge(error) from None

    def complete(self, identity: Identity, size: int = 0) -> Judged:
        """Add what the options say to an identity, and prepare it for requests. `size` is that of the credential.

        Raises Untrusted for a claim that cannot be forwarded.
        """
        claims = identity.claims
        fields: list[_Field] = [(header, key, self.field_of(claims, name)) for name, header, key in self._headers]
        if self.payload:
            fields.append((self.payload, self.payload.lower(), _encoded(claims)))
        # PERF: `dataclasses.replace` costs 3 µs more.
        whole = Identity(
            user=self.user_of(identity),
            handler=self.name,
            kind=self._kind,
            claims=claims,
            issuer=identity.issuer,
            expires=identity.expires,
            scopes=identity.scopes or words(claims, self.scope_claims),
            roles=identity.roles or words(claims, self.role_claims),
        )
        permitted = (self.role is None or self.role in whole.roles) and whole.scopes.issuperset(self.scope)
        return Judged(whole, MappingProxyType({self.name: whole}), fields, permitted, whole.expires, size)

    def field_of(self, claims: Claims, name: str) -> str | None:
        """Return the claim as a header value, None without it. Raises Untrusted for one that cannot be sent."""
        return as_field(claims, name)

    def user_of(self, identity: Identity) -> str:
        """Return the name of the user. Raises Untrusted for a claim that is no name."""
        return identity.user if self.user is None else subject(identity.claims, self.user)

    def admit(self, request: Request, judged: Judged, next: Next) -> Response:
        """Run the rest of the chain for an identity. Raises HTTPError 403 without the required role and scopes."""
        if not judged.permitted:
            raise self._denied(request, judged.identity)
        self.outcomes.ok += 1
        identity = judged.identity
        announce_identity(request, identity, judged.by_name, judged.fields)
        if not self._does_more:
            return next(request)
        if self.end_streams and identity.expires != inf:
            limit = TimeLimit.IDENTITY.of(inf, f"end_streams of [handler:{self.name}]")
            StreamEnd(request, identity.expires, limit, self._clock)
        return self._next_without_credentials(request, next)

    def admit_without_credential(self, request: Request, next: Next) -> Response:
        """Run the rest of the chain for a request without a credential. Raises HTTPError unless `optional`."""
        if not self.optional:
            self.outcomes.missing += 1
            raise self.missing(request)
        if self.scheme:
            request.context.setdefault("challenges", []).append(self.challenge())
        for _, key, _ in self._headers:
            request.headers.discard(key)
        return self._next_without_credentials(request, next)

    def _next_without_credentials(self, request: Request, next: Next) -> Response:
        in_url = any(source.find(request) is not None for source in self._in_url)
        for source in self.removed:
            source.remove(request)
        response = next(request)
        if in_url:
            # RFC 6750 section 2.3: a shared cache would answer others who have the URL.
            response.headers.setdefault("Cache-Control", "private")
        return response

    def challenge(self, code: str = "", description: str = "", **more: str) -> str:
        """Return the value of WWW-Authenticate (RFC 9110 section 11.6.1; `code`: RFC 6750 section 3.1)."""
        errors = {"error": code, "error_description": description, **more} if code and self.scheme == "Bearer" else more
        pairs = {"realm": self.realm} | errors
        return f"{self.scheme} " + ", ".join(f'{name}="{value}"' for name, value in pairs.items())

    def missing(self, request: Request) -> HTTPError:  # noqa: ARG002
        """Return the error for a request without a credential, whose challenge has no error code."""
        return self._error(401 if self.scheme else 403, f"{self.wanted} is required", self.challenge(), "auth_missing")

    def rejection(self, reason: str) -> HTTPError:
        """Return the error for a bad credential; the text says why, and has nothing of the credential."""
        detail = f"{self.given} is rejected: {reason}"
        return self._error(401 if self.scheme else 403, detail, self.challenge("invalid_token", detail), "auth_invalid")

    def with_challenge(self, error: HTTPError) -> HTTPError:
        """Return the error with a challenge, if it is one about the credential that has none."""
        if self.scheme and error.status in {400, 401}:
            code = "invalid_request" if error.status == 400 else "invalid_token"
            description = error.detail if is_quotable(error.detail) else "the request is rejected"
            error.headers.setdefault("WWW-Authenticate", self.challenge(code, description))
        return error

    def unavailable(self, reason: str) -> HTTPError:
        """Return the error for a credential that cannot be judged now; log why. Never 401: it may be a good one."""
        if self._warn is not None:
            self._warn(f"[handler:{self.name}]", "[handler:%s] no credential can be judged: %s", self.name, reason)
        detail = "identity is temporarily unavailable"
        return HTTPError(503, detail, {"Retry-After": "1"}, reason="auth_unavailable")

    def _denied(self, request: Request, identity: Identity) -> HTTPError:
        """Return the error for an identity without the required role or scopes; count and log it."""
        self.outcomes.denied += 1
        error = self.denial(identity)
        has_scopes = identity.scopes.issuperset(self.scope)
        required, found = ({self.role}, identity.roles) if has_scopes else (self.scope, identity.scopes)
        self.log_rejection(request, f"{error.detail}; {beside(sorted(map(str, required)), sorted(found), 'and')}")
        return error

    def denial(self, identity: Identity) -> HTTPError:
        """Return the error for an identity without the required role or scopes (RFC 6750 section 3.1)."""
        if identity.scopes.issuperset(self.scope):
            detail = f"{self.given} does not have the required role"
            return self._error(403, detail, self.challenge("insufficient_scope", detail), "auth_scope")
        detail = f"{self.given} does not have the required scope"
        challenge = self.challenge("insufficient_scope", detail, scope=" ".join(self.scope))
        return self._error(403, detail, challenge, "auth_scope")

    def _error(self, status: int, detail: str, challenge: str, reason: str) -> HTTPError:
        return HTTPError(status, detail, {"WWW-Authenticate": challenge} if self.scheme else (), reason=reason)


def _encoded(claims: Claims) -> str:
    """Return the claims as JSON in base64url without padding (RFC 7515 section 2)."""
    text = json.dumps(dict(claims), separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _check_forward(forward: dict[str, str], payload: str | None) -> None:
    headers = [("forward", header) for header in forward.values()] + ([("payload", payload)] if payload else [])
    names = [header.lower() for _, header in headers]
    for option, header in headers:
        if not is_token(header):
            raise ValueError(f"{option}: {header!r} is not a header name; expected one such as X-User-ID")
        if header.lower() in NOT_IDENTITY:
            raise ValueError(f"{option}: {header!r} is a reserved header and cannot carry a claim")
        if names.count(header.lower()) > 1:
            raise ValueError(f"{option}: {header} is used twice; expected one claim for each header")
    if not all(map(is_quotable, forward)):
        raise ValueError("forward: invalid claim name; expected ASCII without quotes and backslashes")
