"""Examination of a token: the steps of `TokenJudge.judge`, each with its result, expected beside found."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from gproxy.http.identity import Claims, claim
from gproxy.identity.errors import Untrusted
from gproxy.identity.examination import Check, beside, checked, shown
from gproxy.identity.tokens.claim_rules import check_claims
from gproxy.identity.tokens.confirmation import required_thumbprint
from gproxy.identity.tokens.judge import PublicKey, TokenJudge
from gproxy.identity.tokens.rules import TokenRules
from gproxy.identity.tokens.signatures import UnverifiedToken, media_type, read_unverified

#: Dates in claims that are beyond this many seconds are no dates that can be shown.
_LATEST: Final = 1e11


class FoundKeys(Protocol):
    """The keys of an issuer that are known without asking anyone."""

    def find(self, kid: str | None, algorithm: str, /) -> Sequence[PublicKey]:
        """Return the keys that may have signed a token. Raises Untrusted, or Unavailable without a key set."""

    @property
    def ids(self) -> Collection[str]:
        """The ids of all known keys."""


#: The known keys by the name of their issuer in the settings.
Keys = Mapping[str, FoundKeys]


def examine(token: str, judge: TokenJudge, now: float, keys: Keys | None = None) -> list[Check]:
    """Return the checks of the token in the order of its judgement; `now` is in seconds since the epoch.

    Without `keys` the signature by a key of a key set is not checked.
    """
    try:
        header, claims = read_unverified(token.encode("utf-8", "replace"))
    except Untrusted:
        text = "expected three parts in base64url without padding, the first two JSON objects"
        return [checked("form", partial(judge.signatures.parse, token.encode("utf-8", "replace")), text)]
    return [Check("form", True), *_checks(token.encode(), header, claims, judge, now, keys)]


def facts(token: str) -> list[tuple[str, Any]]:
    """Return what the token claims about its issuer, key, algorithm and audience, unverified."""
    try:
        header, claims = read_unverified(token.encode("utf-8", "replace"))
    except Untrusted:
        return []
    return [
        (name, part.get(name)) for name, part in (("iss", claims), ("kid", header), ("alg", header), ("aud", claims))
    ]


def _checks(
    token: bytes, header: Claims, claims: Claims, judge: TokenJudge, now: float, keys: Keys | None
) -> Iterator[Check]:
    signatures, issuers = judge.signatures, judge.issuers
    yield checked("alg", partial(signatures.parse, token), _is_one_of(signatures.algorithms, header.get("alg")))
    if issuers:
        yield checked("iss", partial(issuers.of, claims), _is_one_of(issuers.names, claims.get("iss")))
    yield from _rules(judge.rules, header, claims, now)
    yield from _signature(token, claims, judge, keys)
    for name, demand in judge.demands.items():
        values = _is_one_of((demand.text,), claim(claims, name))
        yield checked(f"claim {name}", partial(check_claims, {name: demand}, claims), values)
    if judge.checks_binding and "cnf" in claims:
        yield checked("cnf", partial(required_thumbprint, claims), "the connection must have the client certificate")
    if judge.revocations:
        kid = header.get("kid")
        yield checked("revoked", partial(judge.revocations.check, claims, kid if isinstance(kid, str) else None))


def _is_one_of(expected: Iterable[str], found: Any) -> str:  # noqa: ANN401 a claim may be anything
    """Return the value if it is an expected one, else both."""
    texts = tuple(expected)
    return f"is {shown(found)}" if found in texts else beside(texts, found)


def _rules(rules: TokenRules, header: Claims, claims: Claims, now: float) -> Iterator[Check]:
    written = header.get("typ")
    typ = media_type(written) if isinstance(written, str) else None
    values = {
        "typ": _is_one_of((rules.typ,) if rules.typ else ("JWT", "at+jwt"), written),
        "exp": _date("ends", claims.get("exp"), now),
        "max_lifetime": _date("ends", claims.get("exp"), now),
        "nbf": _date("begins", claims.get("nbf"), now),
        "aud": _audience(rules.audience, claims.get("aud")),
        "clients": beside(sorted(rules.clients), claims.get("azp", claims.get("client_id"))),
        "max_age": _date("issued", claims.get("iat"), now),
    }
    for name, check in rules.checks.items():
        try:
            yield checked(name, partial(check, claims, typ, now), values.get(name, ""))
        except (TypeError, ValueError):  # an earlier check has found that a date is none
            yield Check(name, None, f"not checked: {values.get(name, '')}")


def _audience(expected: frozenset[str], found: Any) -> str:  # noqa: ANN401 a claim may be anything
    items = found if isinstance(found, list) else [found]
    has_one = any(isinstance(item, str) and item in expected for item in items)
    return f"is {shown(found)}" if has_one else beside(sorted(expected), found)


def _date(verb: str, value: Any, now: float) -> str:  # noqa: ANN401 a claim may be anything
    """Return the date in UTC and how far it is from now, in whole seconds; the value itself if it is no date."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LATEST < value < _LATEST:
        return "" if value is None else f"{verb}: {shown(value)}"
    away = round(value - now)
    distance = f"{away} s from now" if away >= 0 else f"{-away} s ago"
    return f"{verb} {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(value))}, {distance}"


def _signature(token: bytes, claims: Claims, judge: TokenJudge, keys: Keys | None) -> Iterator[Check]:
    try:
        unverified = judge.signatures.parse(token)
        issuer = judge.issuers.of(claims).name if judge.issuers else ""
    except Untrusted:
        yield Check("signature", None, "not checked: without a good algorithm and issuer there is no key")
        return
    if judge.signatures.has_key:
        yield checked("signature", partial(judge.signatures.verify, unverified))
    elif keys is None or issuer not in keys:
        yield Check("signature", None, "not checked: no key is known here")
    else:
        yield from _by_key_set(unverified, judge, keys[issuer])


def _by_key_set(unverified: UnverifiedToken, judge: TokenJudge, keys: FoundKeys) -> Iterator[Check]:
    kid = unverified.header.kid
    find = partial(keys.find, kid, unverified.header.algorithm)
    known = "" if kid in keys.ids else f"; known are {shown(sorted(keys.ids))}"
    found = checked("key", find, f"kid is {shown(kid)}{known}")
    yield found
    if found.holds:
        yield checked("signature", partial(judge.signatures.verify_by, find(), unverified))
