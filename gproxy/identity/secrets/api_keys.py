"""API keys: how they are made, what of them is kept, and what a key says about its user."""

import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from hashlib import sha256
from math import inf, isnan
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Any, Final
from zlib import crc32

from gproxy.config.types import Network
from gproxy.config.types.addresses import parse_network
from gproxy.http.identity import Claims, Identity
from gproxy.http.request import Request
from gproxy.http.trust import is_in
from gproxy.identity.credential_identifier import Verified
from gproxy.identity.errors import Untrusted

#: What the gateway's own keys begin with; scanners find leaked ones by it.
PREFIX: Final = "gk_"
_RANDOM: Final = 40
_SIGNS: Final = digits + ascii_uppercase + ascii_lowercase
#: Base62 digits of a CRC-32.
_CHECKSUM: Final = 6
#: The shortest foreign key: 20 signs of base62 have 119 random bits.
SHORTEST: Final = 20

_is_own: Final = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_RANDOM + _CHECKSUM}}}").fullmatch
_is_hash: Final = re.compile(r"sha256:([0-9a-f]{64})").fullmatch


def new_key() -> str:
    """Return a new key: the prefix, 40 random signs of base62, and a checksum."""
    text = PREFIX + "".join(secrets.choice(_SIGNS) for _ in range(_RANDOM))
    return text + _checksum(text)


def check_form(key: str) -> None:
    """Raise Untrusted for a text that cannot be a key: a mistyped key of ours, or a short one."""
    if key.startswith(PREFIX):
        if not _is_own(key) or key[-_CHECKSUM:] != _checksum(key[:-_CHECKSUM]):
            raise Untrusted("it is mistyped")
    elif len(key) < SHORTEST:
        raise Untrusted("it is too short")


def hash_of(key: str) -> str:
    """Return what is kept of a key: `sha256:` and 64 hexadecimal digits. Random keys need no slow hash."""
    return f"sha256:{sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}"


def parse_hash(text: str) -> str:
    """Return the hash as `hash_of` writes it. Raises ValueError, whose text has nothing of this one."""
    if match := _is_hash(text.lower()):
        return match[0]
    raise ValueError("expected sha256: and 64 hexadecimal digits, as `gproxy key hash` prints them")


def parse_moment(text: str) -> float:
    """Return a date (its begin in UTC) or a time (UTC without an offset) in epoch seconds. Raises ValueError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("expected a date or time such as 2027-01-31 or 2027-01-31T12:00:00Z") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _checksum(text: str) -> str:
    number, signs = crc32(text.encode("ascii", "replace")), ""
    for _ in range(_CHECKSUM):
        number, sign = divmod(number, len(_SIGNS))
        signs = _SIGNS[sign] + signs
    return signs


@dataclass(frozen=True)
class APIKey:
    """The facts of a key: its user, when and from where it may be used, and its claims.

    `claims` has the user as `sub`, and scopes and roles as lists.
    """

    user: str
    expires: float = inf
    disabled: bool = False
    networks: tuple[Network, ...] = ()
    scopes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    claims: Claims = field(default_factory=dict)
    #: Where it is written, for warnings.
    place: str = ""

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "APIKey":
        """Return the key that a user's lookup describes, with the names of a key file and `user`.

        Lists may be texts with commas, `expires` a date, a number or a text. Raises ValueError.
        """
        given = dict(found)
        user = given.pop("user", None)
        if not isinstance(user, str) or not user or not user.isprintable():
            raise ValueError("user: is missing; expected a text of printable characters")
        return cls(
            user,
            _moment(given.pop("expires", None)),
            disabled=bool(given.pop("disabled", False)),
            networks=tuple(parse_network(str(one)) for one in _items(given.pop("networks", None))),
            scopes=_items(given.pop("scopes", None)),
            roles=_items(given.pop("roles", None)),
            claims=given,
        )

    def check_use(self, now: float) -> None:
        """Raise Untrusted for a key out of use."""
        if self.disabled:
            raise Untrusted("it is disabled")
        if self.expires <= now:
            raise Untrusted("it has expired", expired=True)

    def identity(self) -> Identity:
        """Return the identity of the user."""
        lists = {"scope": [*self.scopes], "roles": [*self.roles]}
        claims = {"sub": self.user} | {name: found for name, found in lists.items() if found} | dict(self.claims)
        return Identity(
            self.user, claims, scopes=frozenset(self.scopes), roles=frozenset(self.roles), expires=self.expires
        )

    def verified(self, now: float, until: float = inf) -> Verified:
        """Return the identity of the user; the verdict ends at `until`. Raises Untrusted for a key out of use."""
        self.check_use(now)
        return Verified(self.identity(), min(until, self.expires), self._check_address if self.networks else None)

    def _check_address(self, request: Request) -> None:
        """Raise Untrusted for a client outside of the networks."""
        if not is_in(request.client, self.networks):
            raise Untrusted("it may not be used from here", lasting=False)


def _items(value: Iterable[Any] | str | None) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    return tuple(str(one).strip() for one in value or () if str(one).strip())


def _moment(value: object) -> float:
    if value is None:
        return inf
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC).timestamp()
    if isinstance(value, int | float):
        if isnan(value):  # it would never be over
            raise ValueError("expires: is no number; expected seconds since the epoch")
        return float(value)
    return parse_moment(str(value))
