"""Messages that a failing backend would repeat thousands of times a second."""

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Throttle(Generic[K]):
    """Of each kind the first message is written, and then, once a period, how many more there were.

    Bounded by the number of kinds. A kind that was silent for a period begins anew.
    """

    def __init__(self, period: float = 10.0) -> None:
        self.period = period
        self._kinds: dict[K, tuple[float, int]] = {}

    def is_first(self, kind: K, now: float) -> bool:
        """Is this one to be written? If not, it is counted."""
        since, more = self._kinds.get(kind, (now, -1))
        self._kinds[kind] = since, more + 1
        return more < 0

    def summaries(self, now: float) -> Iterator[tuple[K, int]]:
        """The kinds whose period is over, with how many were not written; to be asked now and then."""
        for kind, (since, more) in list(self._kinds.items()):
            if now - since < self.period:
                continue
            if more:
                self._kinds[kind] = now, 0
                yield kind, more
            else:
                del self._kinds[kind]
