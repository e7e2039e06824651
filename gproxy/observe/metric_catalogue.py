"""The families that a process knows: those of the table, and those that handlers declare."""

import json
from collections.abc import Iterable, Sequence
from typing import Final

from gproxy.observe.buckets import Buckets
from gproxy.observe.metric_families import FAMILIES, Family

#: A family's name and the values of its labels.
Key = tuple[str, tuple[str, ...]]
#: The first item of a declaration among the names of the shared counters; no family has this name.
_DECLARATION: Final = "declare"
_BEGINNING: Final = f'["{_DECLARATION}"'


class Catalogue:
    """The known families with their buckets.

    Each name of the shared counters is a JSON list: a family with label values, or the declaration of a family. So a
    process that does not run the handler, such as the monitor, can read its metrics.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.families: dict[str, Family] = dict(FAMILIES)
        #: The buckets of the settings, for durations.
        self.buckets = Buckets(bounds)
        self._own_buckets: dict[str, Buckets] = {}
        #: The declarations of this process, by name.
        self._declared: dict[str, str] = {}
        self._learnt: set[str] = set()
        #: PERF: the results of `parse`; the memory of names bounds their number.
        self._parsed: dict[str, Key | None] = {}

    def declare(self, name: str, family: Family, bounds: Sequence[float] = ()) -> str:
        """Add a family of this process, and return its declaration, a name for the shared counters.

        Raises ValueError if another family has this name.
        """
        declaration = json.dumps((_DECLARATION, name, family.kind, family.labels, family.help, tuple(bounds)))
        if name in FAMILIES or self._declared.get(name, declaration) != declaration:
            raise ValueError(f"the metric {name} is declared with another kind, labels, doc or buckets")
        self._declared[name] = declaration
        self._add(name, family, bounds)
        return declaration

    def _add(self, name: str, family: Family, bounds: Sequence[float]) -> None:
        self._parsed.clear()
        self.families[name] = family
        self._own_buckets[name] = Buckets(bounds) if bounds else self.buckets

    def learn(self, shared_names: Iterable[str]) -> None:
        """Take over the declarations of other processes; the latest counts, unless this process has its own."""
        for text in shared_names:
            if text.startswith(_BEGINNING) and text not in self._learnt:
                self._learnt.add(text)
                _, name, kind, labels, doc, bounds = json.loads(text)
                if name not in FAMILIES and name not in self._declared:
                    self._add(name, Family(kind, tuple(labels), doc), bounds)

    def buckets_of(self, name: str) -> Buckets:
        """Return the buckets of a histogram."""
        return self._own_buckets.get(name, self.buckets)

    def cells_of(self, name: str) -> int:
        """Return the number of cells of a series."""
        return self.buckets_of(name).size + 1 if self.families[name].kind == "histogram" else 1

    def shared_name(self, key: Key) -> str:
        """Return the name of a series among the shared counters. Histograms with other buckets have other names."""
        name, labels = key
        is_histogram = self.families[name].kind == "histogram"
        return json.dumps((f"{name}/{self.buckets_of(name).key}" if is_histogram else name, *labels))

    def parse(self, shared_name: str) -> Key | None:
        """Return the series of a shared counter; None for a declaration, and for one of other versions or settings."""
        if shared_name not in self._parsed:
            self._parsed[shared_name] = self._parse(shared_name)
        return self._parsed[shared_name]

    def _parse(self, shared_name: str) -> Key | None:
        written, *labels = json.loads(shared_name)
        name, _, bounds = written.partition("/")
        family = self.families.get(name)
        if family is None or len(family.labels) != len(labels):
            return None
        expected = self.buckets_of(name).key if family.kind == "histogram" else ""
        return (name, tuple(labels)) if bounds == expected else None
