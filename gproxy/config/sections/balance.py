"""Balancing policies: their names in the file, and option groups that some of them have."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from gproxy.config.ini.build import changed, doc
from gproxy.config.problems import OptionErrors, OptionProblem
from gproxy.config.record import Record
from gproxy.config.sections import rules
from gproxy.config.types import SHORTEST_SECRET, Seconds, Secret
from gproxy.http.header_names import is_token

#: Policies that `sticky_fallback` may name.
Choice = Literal["round_robin", "weighted", "least_conn", "p2c", "latency", "random", "first"]
Balance = Literal[Choice, "ip_hash", "uri_hash", "header_hash", "cookie_hash", "query_hash", "sticky"]
SameSite = Literal["Lax", "Strict", "None"]

#: Policies that have one choice for each request, so a slow start cannot reduce a backend's share.
_STRICT: Final = ("first", "ip_hash", "uri_hash", "header_hash", "cookie_hash", "query_hash")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class StickyOptions(Record):
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


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class HashOptions(Record):
    """The options of the policies that hash a header, a cookie or a query parameter."""

    key: str | None = field(
        default=None, metadata=doc("header, cookie or parameter to hash, for header_hash, cookie_hash, query_hash")
    )

    def checked(self, policy: str, noun: str, pattern: str) -> str:
        """Return the key of the policy. Raise OptionErrors if the key is missing or does not match the pattern."""
        if self.key is None:
            raise OptionErrors([(("hash_key",), f"is missing; balance = {policy} needs {noun}")])
        if not re.fullmatch(pattern, self.key):
            raise OptionErrors([(("hash_key",), f"expected {noun}; found {self.key!r}")])
        return self.key


class _Upstream(Protocol):
    """The part of `UpstreamSettings` that `problems` reads; its file imports this one."""

    @property
    def balance(self) -> object: ...
    @property
    def sticky(self) -> StickyOptions: ...
    @property
    def slow_start(self) -> float | None: ...


def problems(settings: _Upstream) -> Iterator[OptionProblem]:
    """Yield the problems of options that do not belong to the upstream's policy; each policy checks its own."""
    policy = str(settings.balance)
    used = {policy, settings.sticky.fallback} if policy == "sticky" else {policy}
    for option in changed(settings) if policy != "sticky" else ():
        if option.startswith("sticky_"):
            yield (option,), f"is for balance = sticky, and not for {policy}"
    if settings.slow_start and not used.isdisjoint(_STRICT):
        yield ("slow_start",), f"is not for balance = {either(used & {*_STRICT})}, which leaves no choice"


def either(policies: Iterable[str]) -> str:
    """Return the names as a choice: `a, b or c`."""
    *others, last = policies
    return f"{', '.join(others)} or {last}" if others else last
