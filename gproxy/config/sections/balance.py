"""Balancing policies: their names in the file, and the options of an upstream that each of them has."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from gproxy.config.ini.build import changed, doc
from gproxy.config.problems import OptionProblem
from gproxy.config.sections import rules
from gproxy.config.types import SHORTEST_SECRET, Seconds, Secret
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
}
#: Policies that have one choice for each request, so a slow start cannot reduce a backend's share.
_STRICT: Final = ("first", "ip_hash", "uri_hash", *_KEYS)


@dataclass(frozen=True, slots=True)
class StickyOptions:
    """The options of `balance = sticky`."""

    cookie: str | None = field(default=None, metadata=doc("name of the cookie of balance = sticky; none: sticky_NAME"))
    fallback: Choice = field(
        default="round_robin", metadata=doc("policy for clients without the cookie, or whose backend is unavailable")
    )
    ttl: Seconds | None = field(default=None, metadata=doc("Max-Age of the cookie; none: until the browser closes"))
    same_site: SameSite = field(default="Lax", metadata=doc("SameSite of the cookie"))
    secure: Literal["auto", "yes", "no"] = field(
        default="auto", metadata=doc("whether the cookie has Secure; auto: if the client uses https")
    )
    secret: Secret | None = field(
        default=None,
        metadata=doc("secret that the cookie is derived from; none or auto: generated and kept in [server] state_dir"),
    )

    def __post_init__(self) -> None:
        secret = self.secret.reveal() if self.secret else "auto"
        rules.raise_problems(
            rules.positive(self, "ttl"),
            rules.require(
                self.cookie is None or is_token(self.cookie),
                "cookie",
                f"expected a cookie's name; found {self.cookie!r}",
            ),
            rules.require(
                secret == "auto"  # noqa: S105 a word, not a secret
                or len(secret.encode("utf-8", "surrogatepass")) >= SHORTEST_SECRET,
                "secret",
                f"expected at least {SHORTEST_SECRET} bytes, or auto",
            ),
            rules.require(
                self.same_site != "None" or self.secure != "no",
                "same_site",
                "browsers accept None only with sticky_secure = yes or auto",
            ),
        )


def problems(settings: Any) -> Iterator[OptionProblem]:
    """Yield the problems of options that the upstream's policy does not have, or that it needs."""
    policy = str(settings.balance)
    used = {policy, settings.sticky.fallback} if policy == "sticky" else {policy}
    for option in changed(settings):
        policies = _STICKY if option.startswith("sticky_") else _WITH.get(option)
        if policies and used.isdisjoint(policies):
            yield (option,), f"is for balance = {_either(policies)}, and not for {policy}"
    if policy in _KEYS:
        yield from _key(policy, settings.hash_key)
    if settings.slow_start and not used.isdisjoint(_STRICT):
        yield ("slow_start",), f"is not for balance = {_either(used & {*_STRICT})}, which leaves no choice"


def _key(policy: str, key: str | None) -> Iterator[OptionProblem]:
    noun, pattern = _KEYS[policy]
    if key is None:
        yield ("hash_key",), f"is missing; balance = {policy} needs {noun}"
    elif not re.fullmatch(pattern, key):
        yield ("hash_key",), f"expected {noun}; found {key!r}"


def _either(policies: Iterable[str]) -> str:
    *others, last = policies
    return f"{', '.join(others)} or {last}" if others else last
