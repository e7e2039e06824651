"""Handlers and balancing policies that installed packages offer by entry points.

The settings name them as the built-in ones. Only a name that is not known otherwise causes a scan of what is installed.
A scan reads the metadata of packages and imports nothing.
"""

import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from gproxy.handlers import BUILT_IN
from gproxy.upstream.balance import POLICIES

#: The groups of entry points.
HANDLERS: Final = "gproxy.handlers"
BALANCERS: Final = "gproxy.balancers"
#: The noun and the option of each group, for messages.
_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    HANDLERS: ("handler", "use"), BALANCERS: ("balancing policy", "balance"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, order=True)
class Offer:
    """An entry point: the object MODULE:NAME that a package offers under a name."""

    name: str
    package: str
    version: str
    reference: str

    @property
    def full_name(self) -> str:
        """PACKAGE:NAME, which is unique."""
        return f"{self.package}:{self.name}"


class InstalledNames(Collection[str]):
    """The names of one group: those that are built in, and those that installed packages offer.

    A name of a package is NAME or PACKAGE:NAME. One instance serves one reading of the settings, so that packages which
    are installed later are found by the next. `folders` are searched before those of Python.
    """

    def __init__(self, group: str, built_in: Iterable[str], folders: Iterable[Path] = ()) -> None:
        self._group = group
        self._built_in = frozenset(built_in)
        self._folders = [str(folder) for folder in folders]

    def __contains__(self, name: object) -> bool:
        return name in self._built_in or (isinstance(name, str) and bool(self.find(name)))

    def __iter__(self) -> Iterator[str]:
        return iter(self._built_in.union(offer.name for offer in self.offers))

    def __len__(self) -> int:
        return sum(1 for _ in self)  # a list would ask for the length

    @cached_property
    def offers(self) -> list[Offer]:
        """All that is offered, in the order of the names."""
        from importlib.metadata import distributions  # late: most settings name nothing of a package

        found: dict[str, list[Offer]] = {}
        for package in distributions(path=[*self._folders, *sys.path]):
            points = [point for point in package.entry_points if point.group == self._group]
            if points:  # only then read the metadata; the first place of a package counts, as for its modules
                name, version = package.metadata["Name"], package.version
                offers = [Offer(one.name, name, version, f"{one.module}:{one.attr}") for one in points]
                found.setdefault(_normal(name), offers)
        return sorted(offer for offers in found.values() for offer in offers)

    def find(self, name: str) -> list[Offer]:
        """Return what is offered under NAME, or by PACKAGE:NAME; more than one if packages clash.

        A built-in name alone is not offered by a package.
        """
        package, colon, short = name.rpartition(":")
        if not colon and name in self._built_in:
            return []
        return [
            offer
            for offer in self.offers
            if offer.name == short and (not colon or _normal(offer.package) == _normal(package))
        ]

    def reference(self, name: str) -> str:
        """Return MODULE:NAME of what is offered under the name; "" if nothing is. Raises ValueError for a clash."""
        found = self.find(name)
        if len(found) < 2:
            return found[0].reference if found else ""
        noun, option = _WORDS[self._group]
        packages = " and ".join(f"{offer.package} {offer.version}" for offer in found)
        choices = " or ".join(f"{option} = {offer.full_name}" for offer in found)
        raise ValueError(f"the {noun} {name!r} is offered by several packages: {packages}; write {choices}")


def handler_names(settings: Path | None = None) -> InstalledNames:
    """Return the names of handlers, for this settings file."""
    return InstalledNames(HANDLERS, BUILT_IN, _folders(settings))


def balancer_names(settings: Path | None = None) -> InstalledNames:
    """Return the names of balancing policies, for this settings file."""
    return InstalledNames(BALANCERS, [*POLICIES, "sticky"], _folders(settings))


def _folders(settings: Path | None) -> list[Path]:
    """Return the folder of the settings file, where modules are found too."""
    return [settings.resolve().parent] if settings is not None else []


def _normal(package: str) -> str:
    """Return the package's name as registries compare it: `acme.gproxy` is `acme-gproxy`."""
    return re.sub(r"[-_.]+", "-", package).lower()
