"""What one client has had admitted."""

from collections import deque
from collections.abc import Iterable

#: So many admitted requests: when the first of them came, when the last, and how many they are.
Entry = list[float]


class Bucket:
    """One client's admitted requests: entries, oldest first, and the sum of their counts."""

    __slots__ = ("entries", "kept_at", "total")

    def __init__(self, now: float, entries: Iterable[Entry] = ()) -> None:
        self.entries = deque(entries)
        self.total = sum(entry[2] for entry in self.entries)
        self.kept_at = now

    def forget(self, now: float, window: float) -> None:
        """Drop the entries whose last request came a window ago or before."""
        entries = self.entries
        while entries and entries[0][1] + window <= now:
            self.total -= entries.popleft()[2]
