"""What one client has had admitted."""

from collections import deque
from collections.abc import Iterable

#: So many admitted requests: when the first of them came, when the last, and how many they are.
Entry = list[float]


class Bucket:
    """One client's admitted requests: groups, oldest first, and the sum of their counts."""

    __slots__ = ("_began", "_count", "_last", "_older", "kept_at", "oldest", "total")

    def __init__(self, now: float, entries: Iterable[Entry] = ()) -> None:
        self._older = deque(entries)
        self.total = sum(entry[2] for entry in self._older)
        self.kept_at = now
        #: When the last request of the oldest group came.
        self.oldest = self._older[0][1] if self._older else 0.0
        # PERF: the newest group stands by itself, as numbers and not in a list
        self._began, self._last, self._count = self._older.pop() if self._older else (0.0, 0.0, 0.0)

    @property
    def entries(self) -> list[Entry]:
        newest = [[self._began, self._last, self._count]] if self._count else []
        return [*self._older, *newest]

    @property
    def newest(self) -> float:
        """When the last request came."""
        return self._last

    def add(self, now: float, step: float) -> None:
        """One more, in a new group if the newest one began a step ago."""
        if not self._count or now - self._began >= step:
            if self._count:
                self._older.append([self._began, self._last, self._count])
            self._began = now
            self._count = 0.0
        self._last = now
        self._count += 1
        self.total += 1
        if not self._older:
            self.oldest = now

    def forget(self, now: float, window: float) -> None:
        """Drop the groups whose last request came a window ago or before."""
        older = self._older
        while older and older[0][1] + window <= now:
            self.total -= older.popleft()[2]
        if not older and self._count and self._last + window <= now:
            self.total -= self._count
            self._count = 0.0
        self.oldest = older[0][1] if older else self._last
