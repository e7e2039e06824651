"""The rules for a token that need no key: its type, its dates, for whom it is and who asked for it (RFC 8725)."""

from collections.abc import Callable, Iterator
from math import inf
from typing import Final

from gproxy.http.identity import Claims
from gproxy.identity.claims import date, texts
from gproxy.identity.errors import Untrusted

#: The type of the access tokens of RFC 9068.
AT_JWT: Final = "at+jwt"
#: Types of tokens that give access; None: the header has no type. Others serve other purposes (RFC 8725 section 3.11).
_ACCESS_TYPES: Final = (None, "jwt", AT_JWT)
#: The claims of an access token besides the dates `exp` and `iat` (RFC 9068 section 2.2).
_REQUIRED: Final = ("iss", "aud", "sub", "client_id", "jti")

#: Raises Untrusted: (claims, the token's type as `media_type` returns it, seconds since the epoch).
Check = Callable[[Claims, str | None, float], None]


class TokenRules:
    """The rules of one handler. Times are in seconds; infinity is no limit, and an empty set admits any value.

    typ: the demanded type as `media_type` returns it, "" for all types of access tokens. requires_exp: False for the
    answers of an introspection endpoint, which may have no `exp`.
    """

    def __init__(
        self,
        *,
        audience: frozenset[str] = frozenset(),
        clients: frozenset[str] = frozenset(),
        typ: str = "",
        leeway: float = 0.0,
        max_lifetime: float = inf,
        max_age: float = inf,
        requires_exp: bool = True,
    ) -> None:
        self.audience = audience
        self.clients = clients
        self.typ = typ
        self.leeway = leeway
        self.max_lifetime = max_lifetime
        self.max_age = max_age
        self.requires_exp = requires_exp
        self._types = (typ,) if typ else _ACCESS_TYPES
        #: The checks of these rules, by the claim or option that each is about, in order.
        self.checks: dict[str, Check] = dict(self._demanded())
        self._all = tuple(self.checks.values())

    def _demanded(self) -> Iterator[tuple[str, Check]]:
        yield "typ", self._check_type
        yield "exp", self._check_expiry
        if self.max_lifetime < inf:
            yield "max_lifetime", self._check_lifetime
        yield "nbf", self._check_start
        if self.audience:
            yield "aud", self._check_audience
        if self.clients:
            yield "clients", self._check_clients
        if self.max_age < inf:
            yield "max_age", self._check_age
        if self.typ == AT_JWT:
            yield "profile", _check_profile

    def check(self, claims: Claims, typ: str | None, now: float) -> None:
        """Raise Untrusted if a rule does not hold. `typ` is the token's type, `now` in seconds since the epoch."""
        for check in self._all:
            check(claims, typ, now)

    def until(self, claims: Claims) -> float:
        """Return when checked claims cease to hold, in seconds since the epoch."""
        until: float = claims["exp"] + self.leeway if "exp" in claims else inf
        return min(until, claims["iat"] + self.max_age) if self.max_age < inf else until

    def _check_type(self, _claims: Claims, typ: str | None, _now: float) -> None:
        if typ not in self._types:
            raise Untrusted(f"its type is not {self.typ or 'that of an access token'}")

    def _check_expiry(self, claims: Claims, _typ: str | None, now: float) -> None:
        if "exp" not in claims:
            if self.requires_exp:
                raise Untrusted("it has no expiry date")
            return
        if now >= date(claims, "exp") + self.leeway:
            raise Untrusted("it has expired", expired=True)

    def _check_lifetime(self, claims: Claims, _typ: str | None, now: float) -> None:
        if "exp" in claims and claims["exp"] > now + self.max_lifetime:
            raise Untrusted("its expiry date is too far ahead", lasting=False)

    def _check_start(self, claims: Claims, _typ: str | None, now: float) -> None:
        if "nbf" in claims and now + self.leeway < date(claims, "nbf"):
            raise Untrusted("it is not valid yet", lasting=False)

    def _check_age(self, claims: Claims, _typ: str | None, now: float) -> None:
        if "iat" not in claims:
            raise Untrusted("it has no date of issue")
        issued = date(claims, "iat")
        if now + self.leeway < issued:
            raise Untrusted("its date of issue is in the future", lasting=False)
        if now >= issued + self.max_age:
            raise Untrusted("it is too old", expired=True)

    def _check_audience(self, claims: Claims, _typ: str | None, _now: float) -> None:
        if self.audience.isdisjoint(texts(claims.get("aud"))):
            raise Untrusted("it is meant for another audience")

    def _check_clients(self, claims: Claims, _typ: str | None, _now: float) -> None:
        """Check the claims that name the client of the token: `azp` (OpenID Connect) and `client_id` (RFC 9068)."""
        found = [claims[name] for name in ("azp", "client_id") if name in claims]
        if not found or not all(isinstance(client, str) and client in self.clients for client in found):
            raise Untrusted("it was issued to another client")


def _check_profile(claims: Claims, _typ: str | None, _now: float) -> None:
    missing = [] if "iat" in claims else ["iat"]
    missing += [name for name in _REQUIRED if not texts(claims.get(name))]
    if missing:
        raise Untrusted(f"its claim {missing[0]} is missing")
    date(claims, "iat")
