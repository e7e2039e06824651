"""The claims of a token (RFC 7519 section 4.1): their values, and the form in a header."""

import re
from collections.abc import Iterable
from math import isnan
from typing import Final

from gproxy.http.identity import Claims, claim
from gproxy.identity.errors import Untrusted

#: Matches a text that can stand between quotes in a header field.
is_quotable: Final = re.compile(r"[ !#-\[\]-~]+").fullmatch
#: PERF: what nearly all claims are: unambiguous at a glance.
_is_word = re.compile(r"[!-+\--~]+").fullmatch
#: No control characters of ASCII and latin-1: text to one backend ends a line for the next.
_is_plain = re.compile(r"[ -~\xa0-\xff]*").fullmatch
#: The latest accepted date in epoch seconds; a later one is a mistake or an infinity.
_LATEST: Final = 1e12
#: The types of numbers in JSON: a truth value is none.
_NUMBERS: Final = (int, float)


def subject(claims: Claims, name: str = "sub") -> str:
    """Return the claim that names the user, or "" without it. Raises Untrusted for what is no printable text."""
    user = claim(claims, name) if name not in claims else claims[name]
    if user is None and name not in claims:
        return ""
    if not isinstance(user, str) or not user.isprintable():
        raise Untrusted("its subject is not a plain text")
    return user


def words(claims: Claims, names: Iterable[str]) -> frozenset[str]:
    """Return the words of these claims: a text is split at its blanks, a list is taken as it is."""
    found: list[str] = []
    for name in names:
        value = claim(claims, name)
        if value is not None:
            found += value.split() if isinstance(value, str) else texts(value)
    return frozenset(found)


def as_field(claims: Claims, name: str) -> str | None:
    """Return the claim as a header value, list items joined by commas; None without such a claim.

    Raises Untrusted for a value that a header cannot represent unambiguously: a backend that reads another value than
    the issuer signed may take one user for another.
    """
    value = claim(claims, name)
    if value is None or (isinstance(value, str) and _is_word(value)):
        return value
    if not isinstance(value, list):
        return _text(name, value)
    items = [_text(name, item) for item in value]
    if "" in items:
        raise _unsendable(name)
    return ",".join(items)


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str) or not _is_unambiguous(value):
        raise _unsendable(name)
    return value


def _is_unambiguous(text: str) -> bool:
    """Return whether each backend reads this one text: no list, no blanks that parsers remove, one text as UTF-8."""
    if not _is_plain(text) or "," in text or text != text.strip():
        return False
    try:
        return text.isascii() or not text.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return True


def _unsendable(name: str) -> Untrusted:
    return Untrusted(f"its claim {name} cannot be sent in a header")


def texts(value: object) -> list[str]:
    """Return the texts of a claim that may be one text or several."""
    return [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]


def check_end(expires: float, now: float) -> None:
    """Raise Untrusted if an identity has expired, and ValueError if its end is NaN: it would never expire."""
    if isnan(expires):
        raise ValueError("expires of the identity is not a number; expected seconds since the epoch")
    if expires <= now:
        raise Untrusted("it has expired", expired=True)


def date(claims: Claims, name: str) -> float:
    """Return the date of a claim in seconds since the epoch (RFC 7519 section 2). Raises Untrusted for no date."""
    value: float = claims[name]
    if type(value) not in _NUMBERS or not -_LATEST < value < _LATEST:
        raise Untrusted(f"its {name} is no date")
    return value
