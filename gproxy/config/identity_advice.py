"""Warnings about options of identity handlers that weaken what they protect, or that are written the wrong way round.

The handlers are live objects, of which this module knows attributes only.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from gproxy.config.problems import Problem
from gproxy.config.sections.settings import HandlerSettings, is_identity_handler


def weak_options(handlers: Mapping[str, HandlerSettings]) -> Iterator[Problem]:
    """Yield a warning for each option of an identity handler with which it accepts more than it seems to."""
    tested = _claims_of_rules(handlers.values())
    for found in handlers.values():
        if is_identity_handler(found):
            for option, message in _weaknesses(found.handler, tested):
                yield found.section.problem(option, message)


def own_warnings(handlers: Iterable[HandlerSettings]) -> Iterator[Problem]:
    """Yield the warnings that handlers have found themselves, in the files that their options name."""
    for found in handlers:
        for option, message in getattr(found.handler, "warnings", ()) if is_identity_handler(found) else ():
            yield found.section.problem(option, message)


def turned_claims(handlers: Iterable[HandlerSettings]) -> Iterator[Problem]:
    """Yield a warning for each item of `forward` that seems to be HEADER: CLAIM instead of CLAIM: HEADER."""
    for found in handlers:
        handler = found.handler
        forward = getattr(handler, "forward", None)
        for claim, header in forward.items() if isinstance(forward, Mapping) else ():
            is_turned = claim.lower().startswith("x-") and "-" not in header
            if is_turned and claim not in _texts(handler, "copy"):  # the claims of an authorizer are headers
                message = f"reads the claim {claim} and sets the header {header}; did you mean {header}: {claim}?"
                yield found.section.problem("forward", message)


def _claims_of_rules(handlers: Iterable[HandlerSettings]) -> frozenset[str]:
    """Return the names of the claims that some rule tests."""
    rules = (getattr(found.handler, "rule_claims", ()) for found in handlers)
    return frozenset(name for names in rules for name in names)


def _weaknesses(handler: Any, tested: frozenset[str]) -> Iterator[tuple[str, str]]:  # noqa: ANN401 any kind of handler
    """Yield option and message of each weakness."""
    if "*" in _texts(handler, "audience") and not _texts(handler, "clients"):
        yield "audience", "accepts tokens that the issuer made for any other application (RFC 8725 section 3.9)"
    if getattr(handler, "cross_site", "") == "allow":
        yield "cross_site", _cross_site(handler)
    if getattr(handler, "on_failure", "") == "open":
        yield "on_failure", "requests pass without an identity while the authorizer is unavailable"
    issuers = getattr(handler, "issuer", None) or ()
    if getattr(handler, "jwks", None) and not issuers:
        yield "jwks", "has no issuer beside it, so iss is not checked; write the issuer of these keys"
    for issuer in issuers if isinstance(issuers, tuple | list) else ():
        for claim in getattr(issuer, "places", ()):
            if claim not in tested and claim not in _texts(handler, "claims"):
                message = f"{{{claim}}} admits every tenant of {getattr(issuer, 'name', issuer)}; "
                yield "issuer", f"{message}write claims = {claim}: VALUE, or a rule claim:{claim}=VALUE"


def _cross_site(handler: Any) -> str:  # noqa: ANN401 any kind of handler
    if any(getattr(source, "is_ambient", False) for source in getattr(handler, "sources", ())):
        return "pages of other sites can send requests in the name of a user; list these in origins instead"
    return "has no effect without a source cookie:NAME"


def _texts(handler: Any, option: str) -> frozenset[str]:  # noqa: ANN401 any kind of handler
    value = getattr(handler, option, ())
    return frozenset(map(str, value)) if isinstance(value, Collection) else frozenset()
