"""A key set in use: the keys that handlers trust now, and what happens when they change."""

import logging
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

from gproxy.http.deadline import Deadline
from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.identity.key_sets.key_set import Key, KeySet, UsableKeys

#: Called with keys that verify nothing any longer, before anything else runs: verdicts of these keys end.
Withdrawn = Callable[[frozenset[Key]], object]

#: The number of key ids in a log line.
_SHOWN: Final = 10
_log = logging.getLogger("gproxy")


class LiveKeySet:
    """The keys of one place, which `take` replaces. All handlers that name the place share them.

    name: the place, for logs. fetched: when the set was fetched, on the monotonic clock; infinite for a file.
    is_fresh: True if the last fetch succeeded. fetches: numbers of fetches by outcome.
    """

    def __init__(self, name: str, monotonic: Callable[[], float]) -> None:
        self.name = name
        self.keys: KeySet | None = None
        self.fetched = -math.inf
        self.is_fresh = False
        self.last_error = ""
        self.fetches = {"ok": 0, "failed": 0}
        self.monotonic = monotonic
        self._trusted: list[TrustedKeys] = []

    def trust(self, algorithms: Collection[str], stale: float, withdrawn: Withdrawn | None = None) -> "TrustedKeys":
        """Return the keys as one handler may use them, until they are `stale` seconds old."""
        trusted = TrustedKeys(self, algorithms, stale, withdrawn)
        self._trusted.append(trusted)
        trusted.update()
        return trusted

    def take(self, keys: KeySet, fetched: float) -> None:
        """Replace the keys, and end what the former ones have verified."""
        before = self.keys.keys if self.keys else ()
        self.keys, self.fetched = keys, fetched
        for trusted in self._trusted:
            trusted.update()
        if change := _change(before, keys.keys):
            _log.info("keys of %s: %s", self.name, change)

    def expire(self, now: float) -> None:
        """End what has been verified with keys that are too old now."""
        for trusted in self._trusted:
            trusted.expire(now)

    @property
    def expires(self) -> float:
        """The moment at which the next handler stops to trust the present keys; infinite if none trusts them."""
        return min((trusted.expires for trusted in self._trusted if trusted.is_available), default=math.inf)

    @property
    def state(self) -> str:
        """`fresh` if the last fetch succeeded, `stale` if an older set serves, `missing` if no set is usable."""
        if not any(trusted.is_available for trusted in self._trusted):
            return "missing"
        return "fresh" if self.is_fresh else "stale"

    @property
    def age(self) -> float | None:
        """Seconds since the set was fetched; 0 for a file, None without a set."""
        return None if self.keys is None else max(0.0, self.monotonic() - self.fetched)

    @property
    def count(self) -> int:
        """The number of keys that at least one handler may use."""
        return len(frozenset[Key]().union(*(trusted.keys for trusted in self._trusted)))

    def snapshot(self) -> dict[str, Any]:
        """Return what /health shows; the age is in seconds."""
        age = self.age
        return {
            "name": self.name,
            "state": self.state,
            "age": None if age is None else round(age, 3),
            "count": self.count,
            "last_error": self.last_error,
        }

    def ask(self, deadline: Deadline | None) -> None:
        """Wait until a key that is unknown may have been fetched. Raises Unavailable after that wait."""


class TrustedKeys:
    """The keys of one set, as one handler may use them."""

    def __init__(
        self, live: LiveKeySet, algorithms: Collection[str], stale: float, withdrawn: Withdrawn | None
    ) -> None:
        self._live = live
        self._algorithms = frozenset(algorithms)
        self._stale = stale
        self._withdrawn = withdrawn
        self._usable = UsableKeys()

    @property
    def name(self) -> str:
        """The place of the set."""
        return self._live.name

    @property
    def keys(self) -> frozenset[Key]:
        """The usable keys."""
        return self._usable.keys

    @property
    def expires(self) -> float:
        """The moment from which the present keys are too old, on the monotonic clock."""
        return self._live.fetched + self._stale

    @property
    def is_available(self) -> bool:
        """Return whether there is a set that is not too old."""
        return self._live.keys is not None and self._live.monotonic() < self.expires

    def find(self, kid: str | None, algorithm: str, deadline: Deadline | None = None) -> Sequence[Key]:
        """Return the keys that may have signed a token with this header: one, or a few without `kid`.

        An unknown key may have to be fetched; the wait for it is bounded and ends before the deadline. Raises Untrusted
        if the issuer has no such key, and Unavailable if that cannot be known now.
        """
        self.expire(self._live.monotonic())
        found = self._usable.find(kid, algorithm)
        if found:
            return found
        if kid is not None and self._usable.knows(kid):
            raise Untrusted("its key is for another algorithm", lasting=False)
        self._live.ask(deadline)
        found = self._usable.find(kid, algorithm)
        if found:
            return found
        if not self.is_available or not self._live.is_fresh:
            why = self._live.last_error
            raise Unavailable(f"keys of {self.name} are {self._live.state}{f': {why}' if why else ''}")
        raise Untrusted("its key is unknown", lasting=False)

    def update(self) -> None:
        """Use the present keys of the set."""
        if self._live.keys is not None and self.is_available:
            self._use(self._live.keys.for_algorithms(self._algorithms))

    def expire(self, now: float) -> None:
        """Use no keys that are too old."""
        if now >= self.expires and self._usable.keys:
            self._use(UsableKeys())

    def _use(self, usable: UsableKeys) -> None:
        gone = self._usable.keys - usable.keys
        self._usable = usable
        if gone and self._withdrawn is not None:
            try:
                self._withdrawn(gone)
            except Exception:  # noqa: BLE001 the other handlers and the next fetch must learn of their keys all the same
                _log.exception("keys of %s: verdicts of withdrawn keys cannot be dropped", self.name)


def _change(before: Iterable[Key], after: Iterable[Key]) -> str:
    """Return the ids of new and of withdrawn keys, as in `+k4 -k1`; empty if no key has changed."""
    old, new = {key.content: key.kid for key in before}, {key.content: key.kid for key in after}
    signs = [f"+{_shown(kid)}" for content, kid in new.items() if content not in old]
    signs += [f"-{_shown(kid)}" for content, kid in old.items() if content not in new]
    more = [f"and {len(signs) - _SHOWN} more"] if len(signs) > _SHOWN else []
    return " ".join(signs[:_SHOWN] + more)


def _shown(kid: str | None) -> str:
    """Return the id without characters that could forge a log line."""
    return "(no id)" if kid is None else ascii(kid)[1:-1][:60]
