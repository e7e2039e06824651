"""The options of handlers that judge tokens: their checks, and what is made of them.

Each ValueError begins with the names of the options that it concerns.
"""

import re
from collections.abc import Callable, Iterable
from math import inf
from typing import Final, TypeVar

from gproxy.identity.tokens.rules import TokenRules
from gproxy.identity.tokens.signatures import media_type

T = TypeVar("T")

#: Admits any audience, and tokens without one.
ANY: Final = "*"

# A media type, the part before the slash optional (RFC 6838 section 4.2).
_is_type = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*(/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*)?").fullmatch


def option(name: str, make: Callable[..., T], *args: object) -> T:
    """Call `make`; prefix its ValueError with the name of the option."""
    try:
        return make(*args)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def token_rules(
    *,
    audience: Iterable[str],
    clients: Iterable[str],
    typ: str | None,
    leeway: float,
    max_lifetime: float | None,
    max_age: float | None,
) -> TokenRules:
    """Return the rules that these options make. Raises ValueError."""
    accepted = frozenset(audience)
    if ANY in accepted and len(accepted) > 1:
        raise ValueError(f"audience: {ANY} admits any; expected it alone, or values without it")
    if typ is not None and not _is_type(typ):
        raise ValueError(f"typ: {typ!r} is not a type; expected one such as at+jwt")
    if leeway < 0:
        raise ValueError("leeway: is negative; expected 0 or more")
    for name, limit in (("max_lifetime", max_lifetime), ("max_age", max_age)):
        if limit is not None and limit <= 0:
            raise ValueError(f"{name}: admits no token; expected more than 0s")
    return TokenRules(
        audience=accepted - {ANY},
        clients=frozenset(clients),
        typ=media_type(typ or ""),
        leeway=leeway,
        max_lifetime=inf if max_lifetime is None else max_lifetime,
        max_age=inf if max_age is None else max_age,
    )
