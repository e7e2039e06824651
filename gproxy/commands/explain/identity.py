"""The part of `gproxy explain` about identity: the credential of the request, judged without asking anyone."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from gproxy.commands.routes import Row
from gproxy.config.ini.convert import places
from gproxy.config.sections.settings import Settings
from gproxy.gateway.gateway import Gateway
from gproxy.handlers.allow import Allow
from gproxy.handlers.any_of import AnyOf
from gproxy.handlers.api_key import APIKeys
from gproxy.handlers.basic import Basic
from gproxy.handlers.concurrency import Concurrency
from gproxy.handlers.jwt import JWT
from gproxy.handlers.rate_limit import RateLimit
from gproxy.http.errors import HTTPError
from gproxy.http.identity import Identity
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.identity.credential_identifier import CredentialIdentifier, Verified
from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.identity.examination import Check, Examination, first_failure, lines
from gproxy.identity.identifier import Identifier
from gproxy.identity.rules.rule import Rule
from gproxy.identity.sources import RemoveCredentials, Source, credentials, find_one

#: Rows of the report; the result is whether the request continues, None if only a running gateway can tell.
_Rows = Generator[Row, None, bool | None]
_HINT: Final = "the request ends here; --as 'sub: alice' shows what follows for such an identity"
_REPORTS: Final = "the handler only reports: the request goes on as it was"
_MAY_REPORT: Final = "the handler only reports, so the request goes on"
_UNKNOWN: Final = "not judged: only a running gateway can judge such a credential"


def identity(
    request: Request, names: Sequence[str], gateway: Gateway, settings: Settings, claims: Mapping[str, str] | None
) -> tuple[list[Row], bool]:
    """Return what the identity handlers, rules and tiers among these handlers do with the request, up to a rejection.

    The second item is False if one of them rejects it. With `claims`, the identity has these, whatever credential the
    request has.
    """
    result: bool | None = True

    def rows() -> Iterator[Row]:
        nonlocal result
        result = yield from _identity(request, names, gateway, settings, claims)

    return list(rows()), result is not False


def _identity(
    request: Request, names: Sequence[str], gateway: Gateway, settings: Settings, claims: Mapping[str, str] | None
) -> _Rows:
    for name in names:
        is_good = yield from _decided(request, name, gateway, settings, claims)
        if is_good is True:
            continue
        if not _only_reports(request, name, settings):
            return is_good
        yield "", _REPORTS if is_good is False else _MAY_REPORT
    return True


def _only_reports(request: Request, name: str, settings: Settings) -> bool:
    """Return whether the handler only reports on the route of the request."""
    on = request.route.name if request.route is not None else ""
    route = next((one for one in settings.routes if one.name == on), None)
    return route is not None and settings.handlers[name].mode_on(route) == "report"


def _decided(
    request: Request, name: str, gateway: Gateway, settings: Settings, claims: Mapping[str, str] | None
) -> _Rows:
    """Yield what the handler does. Return True if the request passes, or if the handler does not decide about it."""
    handler, state_dir = gateway.handlers.get(name), settings.server.state_dir
    if isinstance(handler, Identifier | AnyOf):
        if claims is not None:
            return (yield from _given(request, name, handler, claims))
        return (yield from _judged(request, name, handler, state_dir))
    if isinstance(handler, Allow):
        return (yield from _admitted(request, name, handler, settings))
    if isinstance(handler, RateLimit | Concurrency) and handler.tier:
        yield name, _limit(request, handler)
    return True


def remove_credentials(request: Request, names: Sequence[str], keep: Sequence[str], gateway: Gateway) -> None:
    """Remove what no backend gets on a route with these handlers, which keeps these headers."""
    unread: list[Source] = []
    for name, handler in gateway.handlers.items():
        if name not in names:
            unread += credentials(handler)
            continue
        for source in credentials(handler):
            source.remove(request)
    if rest := RemoveCredentials.of(unread, keep):
        rest(request, lambda _: Response(204))


def _judged(request: Request, name: str, handler: Identifier | AnyOf, state_dir: Path) -> _Rows:
    """Yield the checks of the credential. Return False if the handler rejects the request, None if it cannot tell."""
    try:
        judge = handler if isinstance(handler, Identifier) else _member(request, handler)
        found = find_one(judge.sources, request) if judge is not None else None
        if judge is not None and found is not None:
            judge.find_credential(request)  # raises for a cookie from another site
    except HTTPError as error:
        yield name, _result(error)
        return False
    if judge is not None and found is None and (judge.judges_all or not judge.sources):
        yield name, _UNKNOWN
        return None
    if judge is None or found is None:
        if handler.optional:
            yield name, "no credential: the request has no identity"
            return True
        yield name, _result(handler.missing(request))
        yield "", _HINT
        return False
    source, credential = found
    by = "" if judge is handler else f", judged by {judge.name}"
    yield name, f"credential in {source}{by}"
    examination = _examined(judge, credential, request, state_dir)
    yield from (("", line) for line in lines(examination.checks))
    return (yield from _verdict(request, judge, examination))


def _member(request: Request, handler: AnyOf) -> Identifier | None:
    return next((member for member, taken in handler.asked if member.recognises(request, taken)), None)


def _examined(judge: Identifier, credential: str, request: Request, state_dir: Path) -> Examination:
    if isinstance(judge, JWT):
        return judge.examine(credential, judge.known_keys(state_dir))
    if isinstance(judge, Basic) or (isinstance(judge, APIKeys) and judge.keys is not None):
        return _looked_up(judge, credential, request)
    return judge.examine(credential)


def _looked_up(judge: CredentialIdentifier, credential: str, request: Request) -> Examination:
    """Return the examination of a credential that a file of the settings decides about."""
    try:
        found = judge.verify(credential, request)
        verified = found if isinstance(found, Verified) else Verified(found)
        if verified.check is not None:
            verified.check(request)
    except Untrusted as reason:
        return Examination([Check(judge.kind, False, reason=str(reason))])
    except Unavailable as reason:
        return Examination([Check(judge.kind, None, f"not checked: {reason}")])
    checks, identity = judge.examine_identity(verified.identity)
    return Examination([Check(judge.kind, True), *checks], (), identity)


def _verdict(request: Request, judge: Identifier, examination: Examination) -> _Rows:
    """Yield the result. Return False for a bad credential, None if nothing is known about it."""
    checks, _, identity = examination
    if failed := first_failure(checks):
        lacks = identity if failed.name in {"role", "scope"} else None
        yield "", _result(judge.rejection(failed.reason) if lacks is None else judge.denial(lacks))
        return False
    if identity is None:
        yield "", _UNKNOWN
        return None
    undecided = [check.name for check in checks if check.holds is None]
    yield "", f"accepted{f', if the {undecided[0]} is good' if undecided else ''}: {_described(identity)}"
    _take(request, judge.name, identity)
    return True


def _result(error: HTTPError) -> str:
    return f"{error.status}: {error.detail}"


def _given(request: Request, name: str, handler: Identifier | AnyOf, claims: Mapping[str, str]) -> _Rows:
    """Yield the identity with these claims."""
    judge = handler if isinstance(handler, Identifier) else handler.members[0]
    user = claims.get("sub") or claims.get(judge.user or "", "")
    checks, identity = judge.examine_identity(Identity(user=user, claims=claims))
    yield name, f"the identity of --as{'' if judge is handler else f', judged by {judge.name}'}"
    return (yield from _verdict(request, judge, Examination(checks, (), identity)))


def _take(request: Request, name: str, identity: Identity) -> None:
    """Give the request this identity, as the handler of this name does."""
    request.identity = identity
    request.user = identity.user
    request.context["claims"] = identity.claims
    others = request.context.get("identities", {})
    request.context["identities"] = MappingProxyType({**others, name: identity})


def _limit(request: Request, handler: RateLimit | Concurrency) -> str:
    """Return the tier that holds for the client, and its limit."""
    tier = handler.tier_of(request)
    limit = getattr(tier.limit, "limit", tier.limit)
    return f"tier {tier.name}: {limit}" if tier.name else f"{limit}: the client has no known tier"


def _described(identity: Identity) -> str:
    """Return the identity in words: user, roles and scopes."""
    parts = [f"user {identity.user!r}" if identity.user else "no user"]
    parts += [f"roles {', '.join(sorted(identity.roles))}"] if identity.roles else []
    parts += [f"scopes {' '.join(sorted(identity.scopes))}"] if identity.scopes else []
    return "; ".join(parts)


def _admitted(request: Request, name: str, handler: Allow, settings: Settings) -> _Rows:
    """Yield the rule that decides. Return False if the request is rejected."""
    verdict = handler.rules.judge(request)
    if verdict.admitted:
        where = _place(name, "allow", handler.allow, verdict.rule, settings)
        yield name, f"admitted by the rule {verdict.rule}{where}" if verdict.rule else "admitted: no rule denies it"
        return True
    if verdict.lacks == "identity":
        yield name, "401: a rule would admit the request with an identity"
    elif verdict.lacks == "scope":
        where = _place(name, "allow", handler.allow, verdict.rule, settings)
        scopes = " ".join(verdict.scopes)
        yield name, f"403: the rule {verdict.rule}{where} would admit the request with the scopes {scopes}"
    else:
        where = _place(name, "deny", handler.deny, verdict.rule, settings)
        denied = f"403: denied by the rule {verdict.rule}{where}"
        yield name, denied if verdict.rule else "403: no rule admits the request"
    return False


def _place(name: str, option: str, rules: Sequence[Rule], rule: Rule | None, settings: Settings) -> str:
    """Return the line of the rule in the settings, as ` (FILE:LINE)`; empty without one."""
    value = settings.section("handler", name).options.get(option)
    if value is None or rule not in rules:
        return ""
    below = places(tuple[Rule, ...], value.text)[rules.index(rule)]
    return f" ({value.file}:{value.line + below})"
