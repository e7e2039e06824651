"""Limits by a claim: the tier of a client, or a limit in the claim itself."""

from collections.abc import Callable, Mapping
from typing import Final, Generic, NamedTuple, TypeVar

from gproxy.http.identity import Identity

T = TypeVar("T")

#: The number of different limits from claims, and that of texts that are no limit, which are kept too.
MOST: Final = 64
#: The longest text of a claim that the log shows, in characters.
_SHOWN: Final = 32


class Tier(NamedTuple, Generic[T]):
    """The limit of a client. `name` is the value of the claim; "" if the handler's own limit holds."""

    name: str
    limit: T


class Tiers(Generic[T]):
    """The limits of clients by the claim `claim` of their identity; `default` for an unknown or absent tier.

    Without `tiers` the claim itself is a limit, which `parse` makes of its text; `parse` raises ValueError for a text
    that is none. At most 64 different limits come from claims; `full` is called for a further one, which counts as
    unknown. `report` gets the description of a claim that is no tier or limit, once for each that is remembered.
    """

    def __init__(
        self,
        claim: str,
        default: T,
        tiers: Mapping[str, T],
        parse: Callable[[str], T],
        full: Callable[[], object] = lambda: None,
        report: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.claim = claim
        self._default = Tier("", default)
        self._tiers = {name: Tier(name, limit) for name, limit in tiers.items()}
        self._parse = None if tiers else parse
        self._full = full
        self._report = report
        self._unknown: set[str] = set()

    @property
    def limits(self) -> list[T]:
        """The limits that are known, the default first."""
        return [self._default.limit, *(tier.limit for tier in self._tiers.values())]

    def of(self, identity: Identity | None) -> Tier[T]:
        """Return the tier of a client."""
        name = None if identity is None else identity.claim_text(self.claim)
        if name is None:
            return self._without_text(identity)
        found = self._tiers.get(name)
        return self._read(name) if found is None else found

    def _without_text(self, identity: Identity | None) -> Tier[T]:
        """Return the default. A list or an object, which is no text, is a mistake."""
        value = None if identity is None else identity.claim(self.claim)
        if value is not None:
            self._report(self._described("a list or an object"))
        return self._default

    def _read(self, name: str) -> Tier[T]:
        """Return the tier whose limit is the claim itself; the default for a claim that is none, or one too many."""
        if name in self._unknown:
            return self._default
        if self._parse is None:
            return self._forget(name)
        try:
            found = Tier(name, self._parse(name))
        except ValueError:
            return self._forget(name)
        if len(self._tiers) >= MOST:
            self._full()
            return self._default
        self._tiers[name] = found
        return found

    def _forget(self, name: str) -> Tier[T]:
        """Report and note a text that is no tier or limit, so that it is not parsed again."""
        if len(self._unknown) >= MOST:
            self._unknown.clear()
        self._unknown.add(name)
        is_short = len(name) <= _SHOWN and name.isprintable()
        self._report(self._described(f'"{name}"' if is_short else f"a text of {len(name)} characters"))
        return self._default

    def _described(self, value: str) -> str:
        what = "none of tiers" if self._parse is None else "no limit"
        return f"the claim {self.claim} is {value}, which is {what}; such clients get limit"
