"""Authentication by an external authorizer, which gets a request for each request of a client."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal

from gproxy.config.types import Bytes, Seconds, UpstreamName
from gproxy.http.body import NO_BODY
from gproxy.http.handler import Next
from gproxy.http.header_names import HOP_BY_HOP, NOT_IDENTITY, is_token
from gproxy.http.identity import Claims, Identity
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.rewrite import is_visible
from gproxy.http.time_limit import TimeLimit
from gproxy.identity.authorizer_answers import AuthorizerAnswer, EqualCalls, KeptAnswers, lifetime
from gproxy.identity.authorizer_request import AuthorizerRequest, request_digest
from gproxy.identity.credential_cache import Judged
from gproxy.identity.errors import Answered, Unavailable, Untrusted
from gproxy.identity.identifier import Identifier
from gproxy.identity.outcomes import Asked
from gproxy.identity.sources import Source
from gproxy.runtime import Runtime
from gproxy.runtime.expired import Expired
from gproxy.runtime.subrequest import subrequest

#: An alarm expires by less than so many seconds too early.
_SLACK: Final = 0.002
#: Limits that end a call without a fault of the authorizer.
_NOT_ITS_OWN: Final = (TimeLimit.DRAINING, TimeLimit.CUT, TimeLimit.HANDLER)
#: Headers that clients send themselves, so that no answer can set them in requests.
_CLIENTS: Final = NOT_IDENTITY | {"cookie", "set-cookie"}
#: The reasons of the authorizer's rejections in the access line; of others `auth_invalid`.
_REASONS: Final = {403: "forbidden", 429: "auth_throttled"}


@dataclass(slots=True)
class Admission(Judged):
    """An answer that admits, prepared for its requests: the fields to copy into them, and back to their clients.

    is_anonymous: True if the authorizer names no user.
    """

    copied: tuple[tuple[str, list[str]], ...] = ()
    returned: tuple[tuple[str, list[str]], ...] = ()
    is_anonymous: bool = True


@dataclass(kw_only=True)
class ForwardAuth(Identifier):
    """Authentication by an external authorizer: admits the requests for which it answers with a status 2xx.

    Other answers below 500 go to the client as they are: a redirect to a login page, a challenge. Raises HTTPError 503
    if the authorizer does not answer, 413 for a body that is too long for it.
    """

    kind: ClassVar[str] = "forward_auth"
    scheme: ClassVar[str] = ""
    wanted: ClassVar[str] = "a login"
    given: ClassVar[str] = "the login"
    judges_all: ClassVar[bool] = True

    upstream: UpstreamName = field(metadata={"doc": "[upstream:NAME] of the authorizer"})
    sources: tuple[Source, ...] = field(
        default=(),
        metadata={"doc": "credentials that the authorizer reads and no backend gets: bearer, cookie:NAME, header:NAME"},
    )
    path: str = field(default="/", metadata={"doc": "path and query of the requests to the authorizer"})
    timeout: Seconds = field(
        default=Seconds(1.0), metadata={"doc": "longest time of a call, its answer included; the route's may end it"}
    )
    method: Literal["GET", "same"] = field(
        default="GET", metadata={"doc": "method of the requests to the authorizer; same: that of the client's request"}
    )
    body: Bytes = field(
        default=Bytes(0), metadata={"doc": "largest body that is sent too; a longer one is a 413; 0: no body is sent"}
    )
    send: tuple[str, ...] = field(
        default=("*",), metadata={"doc": "headers of the client that the authorizer gets; *: all"}
    )
    set_: dict[str, str] = field(
        default_factory=dict,
        metadata={"doc": "headers for the authorizer: X-Original-URL: {scheme}://{host}{uri}; {uri}: path and query"},
    )
    copy: tuple[str, ...] = field(
        default=(), metadata={"doc": "headers of its answer that the backend gets, and no client can send"}
    )
    copy_back: tuple[str, ...] = field(
        default=(), metadata={"doc": "headers of its answer that the client gets: Set-Cookie"}
    )
    user: str | None = field(
        default=None,
        metadata={"doc": "header of its answer that names the user; no client can send it; none: no identity"},
    )
    on_failure: Literal["closed", "open"] = field(
        default="closed", metadata={"doc": "what becomes of requests without an answer: closed: 503; open: they pass"}
    )
    cache: Seconds = field(
        default=Seconds(0.0), metadata={"doc": "how long an answer serves requests that are equal; 0s: ask each time"}
    )
    max_body: Bytes = field(
        default=Bytes(64 * 1024), metadata={"doc": "largest body of its answer; with a longer one it counts as none"}
    )

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError."""
        super().__post_init__()
        self._check_options()
        self.identity_headers |= {name.lower() for name in self.copy}
        #: In lower case: what no client can send, though the handler does not set it; an authorizer may echo it.
        self.only_removed = frozenset({self.user.lower()} if self.user else ()) - self.identity_headers
        self.identity_headers |= self.only_removed
        self._fields = AuthorizerRequest(self.send, self.set_)
        self._lists = frozenset((*self.role_claims, *self.scope_claims))
        self._kept, self._equal = KeptAnswers(), EqualCalls()

    def _check_options(self) -> None:
        if self.optional:
            raise ValueError("optional: has no effect: the authorizer decides on requests without a credential")
        if not self.path.startswith("/") or not is_visible(self.path) or "#" in self.path:
            raise ValueError(f"path: {self.path!r} is no path; expected one such as /api/verify")
        if self.timeout <= 0 or self.cache < 0 or self.body < 0 or self.max_body < 0:
            raise ValueError("timeout, cache, body, max_body: expected a timeout above 0, and none below 0")
        self._check_headers()

    def _check_headers(self) -> None:
        taken = {header.lower() for header in (*self.forward.values(), *filter(None, (self.payload,)))}
        for option, names in (("copy", self.copy), ("copy_back", self.copy_back)):
            for name in names:
                if not is_token(name) or name.lower() in HOP_BY_HOP:
                    raise ValueError(f"{option}: {name!r} cannot be copied; expected a header such as Remote-User")
        if self.user is not None and (not is_token(self.user) or self.user.lower() in _CLIENTS):
            raise ValueError(f"user: {self.user!r} cannot name a user; expected a header such as Remote-User")
        for name in self.copy:
            if name.lower() in _CLIENTS:
                raise ValueError(f"copy: {name} is a reserved header: clients send it too")
            if name.lower() in taken:
                raise ValueError(f"copy: {name} is used twice; expected one origin for each header")
            taken.add(name.lower())

    def open(self, runtime: Runtime) -> None:
        """Take the upstream, the log and the metrics of the process."""
        super().open(runtime)
        self._runtime = runtime
        self._asked = Asked(runtime, self.name)

    def recognises(self, request: Request, taken: Collection[Source] = ()) -> bool:  # noqa: ARG002
        """Return True: the authorizer judges requests without a credential too."""
        return True

    def judge(self, request: Request) -> Judged | None:
        """Return what the authorizer's answer means. Raises Answered if the answer is for the client, and HTTPError."""
        if self.sources:
            self.find_credential(request)  # raises for several ones, and for a cookie from another site
        try:
            answer = self._answer(request)
            if answer.admits:
                if answer.judged is None:
                    answer.judged = self._admission(answer)
                return answer.judged
        except (Unavailable, Untrusted) as reason:
            if request.deadline.remaining() < _SLACK:
                raise Expired(TimeLimit.DEADLINE) from reason  # the authorizer had less time than `timeout`
            error = self.unavailable(str(reason))
            if self.on_failure == "closed":
                raise error from reason
            return self._admission(AuthorizerAnswer(200, "", request.headers.copy(), b""), passes=True)
        raise self._answered(request, answer)

    def _answer(self, request: Request) -> AuthorizerAnswer:
        """Return the answer about the request, a kept one if there is one. Raises Unavailable, HTTPError 413, 429."""
        has_body = self.body and request.body is not NO_BODY
        body = request.body.buffer(self.body) if has_body else b""
        method = request.method if self.method == "same" else "GET"
        fields = self._fields.fields(request)
        digest = b""
        if self.cache:
            digest = request_digest(request, method, self.path, fields, body)
            if (kept := self._kept.find(digest, self._clock())) is not None:
                if kept.is_challenge:
                    self.failures.count(request)
                return kept
        option = f"timeout of [handler:{self.name}]"
        try:
            with (
                self.failures.turn(request, min(self.timeout, request.deadline.remaining())) as turn,
                subrequest(request, method, self.path, fields, body, timeout=self.timeout, option=option) as asked,
            ):
                answer = self._shared(digest, request, asked) if digest else self._ask(asked)
                turn.is_bad = answer.is_challenge
                return answer
        except Expired as expired:
            if expired.limit in _NOT_ITS_OWN or request.deadline.remaining() < _SLACK:
                raise  # it is not the authorizer that had no time
            raise Unavailable(f"no answer within {self.timeout:g} s") from expired

    def _shared(self, digest: bytes, request: Request, asked: Request) -> AuthorizerAnswer:
        """Return the answer of an equal call under way if it may be kept, else that of a call of its own."""
        while (ended := self._equal.wait(digest, request)) is not None:
            answer = self._kept.find(digest, self._clock())
            if answer is not None:
                return answer
            if ended:  # it had an answer, which is not for others
                return self._ask(asked)
        with self._equal.running(digest) as call:
            answer = self._ask(asked)
            call.has_answer = True
            self._kept.keep(digest, answer, self._clock(), lifetime(answer, self.cache))
        return answer

    def _ask(self, asked: Request) -> AuthorizerAnswer:
        """Ask the authorizer. Raises Unavailable for a status of 500 or more, and for a body that cannot be read."""
        with self._asked.timed() as call:
            response = self._runtime.ask(self.upstream, asked)
            failure = f"status {response.status} ({asked.reason or 'its own'})" if response.status >= 500 else ""
            body = b""
            if not failure:
                body, failure = self._read(response)
            if failure:
                raise Unavailable(f"upstream {self.upstream}: {failure}")
            answer = AuthorizerAnswer(response.status, response.phrase, response.headers, body)
            call.admits = answer.admits
            return answer

    def _read(self, response: Response) -> tuple[bytes, str]:
        """Return the body, and why it cannot be read; "" if it was."""
        pieces, size = [], 0
        try:
            for piece in response.pieces:
                pieces.append(piece)
                size += len(piece)
                if size > self.max_body:
                    return b"", f"the answer has more than {self.max_body} bytes"
        except Exception as error:  # noqa: BLE001 a backend may break off in any way
            return b"", f"the answer is incomplete: {error}"
        return b"".join(pieces), ""

    def _answered(self, request: Request, answer: AuthorizerAnswer) -> Answered:
        """Return the exception that carries the authorizer's answer to the client; count and log it."""
        status = answer.status
        request.reason = "auth_missing" if status < 400 else _REASONS.get(status, "auth_invalid")
        self.outcomes.count(request.reason)
        self.log_rejection(request, f"the authorizer answers {status}")
        return Answered(Response.forwarded(status, answer.phrase, answer.headers.copy(), answer.body))

    def _admission(self, answer: AuthorizerAnswer, *, passes: bool = False) -> Admission:
        """Return what an answer that admits means; `passes`: without the authorizer. Raises Untrusted, Unavailable."""
        claims = {} if passes else self._claims(answer)
        name = claims.get(self.user) if self.user is not None else None
        judged = self.complete(Identity(claims=claims) if name else Identity())
        headers = answer.headers
        return Admission(
            judged.identity, judged.by_name, judged.fields, judged.permitted, judged.expires, judged.size,
            copied=tuple((name, [] if passes else headers.all(name)) for name in self.copy),
            returned=() if passes else tuple((name, headers.all(name)) for name in self.copy_back if name in headers),
            is_anonymous=not name,
        )  # fmt: skip

    def _claims(self, answer: AuthorizerAnswer) -> Claims:
        """Return the copied headers by their names in the options; those with roles and scopes are lists.

        Raises Unavailable if the answer has one of them several times: some backends take the first, others the last.
        """
        names = (*self.copy, *filter(None, (self.user,)))
        for name in names:
            if len(answer.headers.all(name)) > 1:
                raise Unavailable(f"the answer of upstream {self.upstream} has {name} several times")
        found = {name: answer.headers.get(name) for name in names}
        return {
            name: [item.strip() for item in value.split(",") if item.strip()] if name in self._lists else value
            for name, value in found.items()
            if value is not None
        }

    def admit(self, request: Request, judged: Judged, next: Next) -> Response:
        """Run the rest of the chain, with the copied headers. Raises HTTPError 403 without the required role."""
        assert isinstance(judged, Admission)  # noqa: S101 by `judge`
        headers = request.headers
        for name, values in judged.copied:
            headers.discard(name)
            for value in values:
                headers.add(name, value)
        response = self._admit(request, judged, next)
        for name, values in judged.returned:
            if name.lower() != "set-cookie":
                response.headers.discard(name)
            for value in values:
                response.headers.add(name, value)
        return response

    def _admit(self, request: Request, judged: Admission, next: Next) -> Response:
        if not judged.is_anonymous:
            return super().admit(request, judged, next)
        if not judged.permitted:
            raise self._denied(request, judged.identity)
        self.outcomes.ok += 1
        request.exchange.auth = self.name
        return self._next_without_credentials(request, next)
