"""Issuers of tokens in the settings: which one a token claims to be from (RFC 7519 section 4.1.1).

An issuer with `{CLAIM}` stands for many tenants: the token's own claim fills the place, so that a tenant's token cannot
name another tenant in that claim.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from gproxy.http.identity import Claims
from gproxy.identity.errors import Untrusted
from gproxy.identity.key_sets.key_source import KeySource

_PLACE: Final = re.compile(r"\{([^{}]*)\}")
#: One segment of a path (RFC 3986 section 3.3), as issuers write tenants: it cannot lead to another host or path.
_is_segment = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~-]{1,256}", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True)
class Issuer:
    """An issuer of the settings, and the place of its key set: `https://id.example.com jwks=https://id.example.com/keys`.

    `name` is the value of `iss`. Without `jwks` the metadata of the issuer name the place of its keys.
    """

    noun: ClassVar[str] = "an issuer"
    example: ClassVar[str] = "https://id.example.com jwks=https://id.example.com/keys"

    name: str
    jwks: KeySource | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `NAME` or `NAME jwks=URL`. Raises ValueError with the problem."""
        name, *words = text.split()
        for word in words:
            if not word.startswith("jwks="):
                raise ValueError(f"{word!r} is not jwks=URL or jwks=file:PATH")
        if "/.well-known/" in name:
            raise ValueError("discovery adds /.well-known/… itself; write the issuer as in the claim iss")
        if len(words) > 1:
            raise ValueError("jwks is given twice")
        if not all(re.fullmatch(r"[^\W\d][\w-]*", claim) for claim in _PLACE.findall(name)):
            raise ValueError("a place in an issuer is written {CLAIM}, as in https://id.example.com/{tid}/v2.0")
        if re.search(r"[{}]", _PLACE.sub("", name)):
            raise ValueError("a brace in an issuer encloses the name of a claim, as in {tid}")
        return cls(name, KeySource.parse(words[0].removeprefix("jwks=")) if words else None)

    @property
    def places(self) -> tuple[str, ...]:
        """The claims that fill the issuer's name."""
        return tuple(_PLACE.findall(self.name))

    def name_for(self, claims: Claims) -> str | None:
        """Return the name, filled from the claims; None if one of them is no single segment of a path."""
        values = {claim: claims.get(claim) for claim in self.places}
        if not all(isinstance(value, str) and _is_segment(value) for value in values.values()):
            return None
        return _PLACE.sub(lambda place: str(values[place[1]]), self.name)

    def __str__(self) -> str:
        return f"{self.name} jwks={self.jwks}" if self.jwks else self.name


class Issuers:
    """The issuers that one handler trusts; none: any issuer. Raises ValueError for one that occurs twice."""

    def __init__(self, issuers: Iterable[Issuer]) -> None:
        issuers = tuple(issuers)
        #: As the settings write them.
        self.names = tuple(issuer.name for issuer in issuers)
        for name in self.names:
            if self.names.count(name) > 1:
                raise ValueError(f"{name} is given twice")
        self._by_name = {issuer.name: issuer for issuer in issuers if not issuer.places}
        self._tenants = [issuer for issuer in issuers if issuer.places]

    def __bool__(self) -> bool:
        return bool(self.names)

    def of(self, claims: Claims) -> Issuer:
        """Return the issuer that the token claims to be from. Raises Untrusted if it is none of these."""
        name = claims.get("iss")
        if isinstance(name, str):
            if found := self._by_name.get(name):
                return found
            for tenants in self._tenants:
                if tenants.name_for(claims) == name:
                    return tenants
        raise Untrusted("its issuer is not the expected one")
