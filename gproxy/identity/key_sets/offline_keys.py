"""Key sets as commands use them: what is kept of them in `state_dir`, or a file; no issuer is asked."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.identity.key_sets.kept_keys import kept_keys
from gproxy.identity.key_sets.key_set import Key, KeySet
from gproxy.identity.key_sets.key_source import KeySource, read_file


class OfflineKeys:
    """The keys of a place for some algorithms, if there is a copy of the set."""

    def __init__(self, source: KeySource, algorithms: Collection[str], state_dir: Path) -> None:
        self._why = f"no key set of {source.name} is kept in {state_dir}"
        found = self._load(source, state_dir)
        self._usable = found.for_algorithms(algorithms) if found is not None else None

    def _load(self, source: KeySource, state_dir: Path) -> KeySet | None:
        try:
            if source.kind == "file":
                return read_file(source.path)
            kept = kept_keys(state_dir, source)
        except ValueError as error:
            self._why = str(error)
            return None
        return kept.keys if kept else None

    def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """Return the keys that may have signed a token. Raises Untrusted without one, Unavailable without a set."""
        if self._usable is None:
            raise Unavailable(self._why)
        found = self._usable.find(kid, algorithm)
        if not found:
            known = kid is not None and self._usable.knows(kid)
            raise Untrusted("its key is for another algorithm" if known else "its key is unknown")
        return found

    @property
    def ids(self) -> Collection[str]:
        """The ids of the known keys."""
        return self._usable.ids if self._usable else ()


def offline_keys(
    sources: Mapping[str, KeySource], algorithms: Collection[str], state_dir: Path
) -> dict[str, OfflineKeys]:
    """Return the keys of these places, by the name of their issuer."""
    return {name: OfflineKeys(source, algorithms, state_dir) for name, source in sources.items()}
