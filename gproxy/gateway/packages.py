"""Handlers and balancing policies that installed packages offer by entry points.

The settings name them as the built-in ones. Only a name that is not known otherwise causes a scan of what is installed.
A scan reads the metadata of packages and imports nothing.
"""

import logging
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gproxy.handlers import BUILT_IN
from gproxy.upstream.balance import POLICIES

if TYPE_CHECKING:
    from importlib.metadata import Distribution

_log: Final = logging.getLogger("gproxy")
#: MODULE:NAME, which an entry point has, and what may follow it.
_REFERENCE: Final = re.compile(r"([\w.]+)\s*:\s*([\w.]+)\s*(\[.*\])?")
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
            try:
                offers = _offers(package, self._group)
            except Exception as error:  # noqa: BLE001 whatever is installed, malformed in any way
                place = getattr(package, "_path", package)
                _log.warning("%s: the entry points of this package cannot be read, and are ignored: %s", place, error)
                continue
            if offers:  # the first place of a package counts, as for its modules
                found.setdefault(_normal(offers[0].package), offers)
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


def _offers(package: "Distribution", group: str) -> list[Offer]:
    """Return what one package offers in the group, without malformed entry points, which the log has."""
    points = [point for point in package.entry_points if point.group == group]
    if not points:  # only now read the metadata
        return []
    name = package.metadata["Name"]
    if not name:
        raise ValueError(f"it offers {points[0].name} = {points[0].value}, and has no name")
    offers = []
    for point in points:
        parts = _REFERENCE.fullmatch(point.value)
        if parts is None:
            message = "the entry point %s = %s of the package %s is no MODULE:NAME, and is ignored"
            _log.warning(message, point.name, point.value, name)
        else:
            offers.append(Offer(point.name, name, package.version, f"{parts[1]}:{parts[2]}"))
    return offers


def _folders(settings: Path | None) -> list[Path]:
    """Return the folder of the settings file, where modules are found too."""
    return [settings.resolve().parent] if settings is not None else []


def _normal(package: str) -> str:
    """Return the package's name as registries compare it: `acme.gproxy` is `acme-gproxy`."""
    return re.sub(r"[-_.]+", "-", package).lower()
