"""A choice between several kinds of credentials."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.identity.errors import Answered
from gproxy.identity.identifier import Identifier
from gproxy.identity.outcomes import Outcomes
from gproxy.identity.sources import Source
from gproxy.runtime import Runtime


@dataclass
class AnyOf:
    """Alternatives: the first of several identity handlers that recognises a credential judges the request.

    If that one rejects the credential, no other is asked. The credentials of all of them are removed. Raises HTTPError
    401 with a challenge of each member if none recognises a credential (403 if none has a challenge).
    """

    of: tuple[str, ...] = field(metadata={"doc": "identity handlers, in the order in which they are asked"})
    optional: bool = field(
        default=False,
        metadata={"doc": "admit requests without a credential too, whatever the members say; a bad one is rejected"},
    )
    #: The members, in the order of `of`; build.py makes them first.
    members: tuple[Identifier, ...] = field(default=(), metadata={"ini": False, "doc": "the live handlers"}, repr=False)

    #: The section's name.
    name: str = field(init=False, default="any_of")
    #: In lower case: headers that the gateway removes from every request it receives, on any route.
    identity_headers: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError."""
        if len(set(self.of)) < 2:
            raise ValueError("of: expected two or more different handlers")
        self.identity_headers = frozenset().union(*(member.identity_headers for member in self.members))
        #: Each member with the sources of the members before it.
        self.asked = [
            (member, frozenset(one for before in self.members[:place] for one in before.sources))
            for place, member in enumerate(self.members)
        ]
        self._check_order()
        #: The documents that members themselves answer, by their paths.
        self._documents = {member.own_path: member.document for member in self.members if member.own_path}
        #: The numbers of requests that no member has judged, for the metrics.
        self.outcomes = Outcomes()
        #: What is removed from each request.
        self.removed: tuple[Source, ...] = tuple({one: None for member in self.members for one in member.removed})

    def _check_order(self) -> None:
        """Raise ValueError for a member that never gets a credential, because members before it take all."""
        for place, (member, _) in enumerate(self.asked):
            before = self.asked[:place]
            takers = {
                source: next((one.name for one, taken in before if one.takes_all(source, taken, member)), "")
                for source in member.sources
            }
            if takers and all(takers.values()):
                found = " and ".join(f"{name} takes those in {source}" for source, name in takers.items())
                message = f"{member.name} gets no credential: {found} before it"
                raise ValueError(f"of: {message}; write {member.name} first, or give it other sources")

    def open(self, runtime: Runtime) -> None:
        self.outcomes.watch(runtime, self.name)

    def __call__(self, request: Request, next: Next) -> Response:
        if self._documents and request.path in self._documents:
            return self._documents[request.path]()
        for member, taken in self.asked:
            if self._recognises(member, request, taken):
                try:
                    judged = member.judged(request)
                except Answered as answered:
                    return answered.response
                if judged is not None:
                    return member.admit(request, judged, self._before(next) if self.removed else next)
        if not self.optional:
            raise self.missing(request)
        request.context.setdefault("challenges", []).extend(self._challenges())
        return self._before(next)(request)

    def _recognises(self, member: Identifier, request: Request, taken: frozenset[Source]) -> bool:
        try:
            return member.recognises(request, taken)
        except HTTPError as error:
            self.outcomes.count(error.reason)
            member.log_rejection(request, error.detail)
            raise member.with_challenge(error) from None

    def _before(self, next: Next) -> Next:
        """Return the rest of the chain for a request from which no member's credential has been removed yet."""

        def without_credentials(request: Request) -> Response:
            for source in self.removed:
                source.remove(request)
            return next(request)

        return without_credentials

    def _challenges(self) -> Iterator[str]:
        return (member.challenge() for member in self.members if member.scheme)

    def missing(self, request: Request) -> HTTPError:
        """Return the error for a request in which no member recognises a credential; count and log it."""
        challenges = [("WWW-Authenticate", one) for one in self._challenges()]
        first = next((member for member in self.members if member.has_content(request)), None)
        reason = "auth_missing" if first is None else "auth_invalid"
        detail = "a credential is required" if first is None else "no handler accepts this credential"
        self.outcomes.count(reason)
        if first is not None:
            first.log_rejection(request, detail)
        return HTTPError(401 if challenges else 403, detail, challenges, reason=reason)
