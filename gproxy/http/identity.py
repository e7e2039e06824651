"""An identity: what a good credential proves about the client of a request."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType
from typing import Any

Claims = Mapping[str, Any]


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """A client that has proved who it is; immutable, and shared by the requests with the same credential.

    user: the name of the client. claims: all facts of the credential by name, read-only. handler: section of the
    handler that has judged the credential; kind: the kind of that handler. issuer: the party that vouches for it, or
    "". expires: seconds since the epoch.
    """

    user: str = ""
    claims: Claims = field(default_factory=dict)
    handler: str = ""
    kind: str = ""
    issuer: str = ""
    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    expires: float = inf
    #: Handler, issuer and user: equal users of two issuers have different ids.
    id: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Make the claims read-only, and join the id."""
        if not isinstance(self.claims, MappingProxyType):
            object.__setattr__(self, "claims", MappingProxyType(dict(self.claims)))
        object.__setattr__(self, "id", " ".join((self.handler, self.issuer.replace(" ", "%20"), self.user)))

    def claim(self, name: str) -> Any | None:  # noqa: ANN401 a claim may be anything
        """Return the claim of this name, or at this path of names with dots between them; None if there is none."""
        return claim(self.claims, name)

    def claim_text(self, name: str) -> str | None:
        """Return the claim as a text; None without one, and for a list or an object."""
        return as_text(claim(self.claims, name))

    def __repr__(self) -> str:
        return f"<Identity {self.id}>"


def claim(claims: Claims, name: str) -> Any | None:  # noqa: ANN401 a claim may be anything
    """Return the claim of this name, else the value at the path of names (`realm_access.roles`), else None."""
    if name in claims or "." not in name:
        return claims.get(name)
    value: Any = claims
    for part in name.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def as_text(value: object) -> str | None:
    """Return the value of a claim as a text, a number or truth value as JSON has it; None for a list or an object."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None
