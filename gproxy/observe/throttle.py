"""Throttled log messages, which a failing backend would otherwise repeat thousands of times a second."""

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Throttle(Generic[K]):
    """A throttle of messages: the first of each kind is logged, then once a period the number of further ones.

    Its memory is bounded by the number of kinds. A kind without messages for a period starts again.
    """

    def __init__(self, period: float = 10.0) -> None:
        self.period = period
        self._kinds: dict[K, tuple[float, int]] = {}

    def is_first(self, kind: K, now: float) -> bool:
        """Return whether the message is to be logged; count it otherwise."""
        since, more = self._kinds.get(kind, (now, -1))
        self._kinds[kind] = since, more + 1
        return more < 0

    def summaries(self, now: float) -> Iterator[tuple[K, int]]:
        """Return the kinds whose period is over, with the number of messages not logged. Call it regularly."""
        for kind, (since, more) in list(self._kinds.items()):
            if now - since < self.period:
                continue
            if more:
                self._kinds[kind] = now, 0
                yield kind, more
            else:
                del self._kinds[kind]
