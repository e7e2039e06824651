"""Balancing policies: their names in the file, and the options of an upstream that each of them has."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

from gproxy.config.types import SHORTEST_SECRET
from gproxy.http.header_names import TOKEN_CHAR, is_token

#: Policies that `sticky_fallback` may name.
Choice = Literal["round_robin", "weighted", "least_conn", "p2c", "latency", "random", "first"]
Balance = Literal[Choice, "ip_hash", "uri_hash", "header_hash", "cookie_hash", "query_hash", "sticky"]
SameSite = Literal["Lax", "Strict", "None"]

#: The noun and the pattern of `hash_key`, by policy.
_KEYS: Final = {
    "header_hash": ("a header's name", f"{TOKEN_CHAR}+"),
    "cookie_hash": ("a cookie's name", f"{TOKEN_CHAR}+"),
    "query_hash": ("a parameter's name", r"[^\s&=#]+"),
}
_STICKY: Final = ("sticky",)
_WITH: Final[dict[str, tuple[str, ...]]] = {
    "hash_key": tuple(_KEYS),
    "latency_decay": ("latency",),
    "sticky_cookie": _STICKY,
    "sticky_fallback": _STICKY,
    "sticky_ttl": _STICKY,
    "sticky_same_site": _STICKY,
    "sticky_secure": _STICKY,
    "sticky_secret": _STICKY,
}
#: Policies that have one choice for each request, so a slow start cannot reduce a backend's share.
_STRICT: Final = ("first", "ip_hash", "uri_hash", *_KEYS)


def balancing(settings: Any, defaults: dict[str, Any]) -> Iterator[str]:
    """Yield the problems of the options of an upstream's policy. `defaults` has the default of each option."""
    policy = str(settings.balance)
    used = {policy, settings.sticky_fallback} if policy == "sticky" else {policy}
    for option, policies in _WITH.items():
        if getattr(settings, option) != defaults[option] and used.isdisjoint(policies):
            yield f"{option}: is for balance = {_either(policies)}, and not for {policy}"
    if policy in _KEYS:
        yield from _key(policy, settings.hash_key)
    if settings.slow_start and not used.isdisjoint(_STRICT):
        yield f"slow_start: is not for balance = {_either(used & {*_STRICT})}, which leaves no choice"
    if policy == "sticky":
        yield from _sticky(settings)


def _key(policy: str, key: str | None) -> Iterator[str]:
    noun, pattern = _KEYS[policy]
    if key is None:
        yield f"hash_key: is missing; balance = {policy} needs {noun}"
    elif not re.fullmatch(pattern, key):
        yield f"hash_key: expected {noun}; found {key!r}"


def _sticky(settings: Any) -> Iterator[str]:
    secret = settings.sticky_secret.reveal() if settings.sticky_secret else "auto"
    if settings.sticky_cookie is not None and not is_token(settings.sticky_cookie):
        yield f"sticky_cookie: expected a cookie's name; found {settings.sticky_cookie!r}"
    if secret != "auto" and len(secret.encode("utf-8", "surrogatepass")) < SHORTEST_SECRET:
        yield f"sticky_secret: expected at least {SHORTEST_SECRET} bytes, or auto"
    if settings.sticky_same_site == "None" and settings.sticky_secure == "no":
        yield "sticky_same_site: browsers accept None only with sticky_secure = yes or auto"


def _either(policies: Iterable[str]) -> str:
    *others, last = policies
    return f"{', '.join(others)} or {last}" if others else last
