"""The admitted requests of one client."""

from collections import deque
from collections.abc import Iterable

#: A group of admitted requests: time of the first, time of the last, and their number.
Entry = list[float]


class Bucket:
    """The admitted requests of one client: groups, oldest first, and the sum of their counts."""

    __slots__ = ("_began", "_count", "_last", "_older", "kept_at", "oldest", "total")

    def __init__(self, now: float, entries: Iterable[Entry] = ()) -> None:
        self._older = deque(entries)
        self.total = sum(entry[2] for entry in self._older)
        self.kept_at = now
        #: The time of the last request in the oldest group.
        self.oldest = self._older[0][1] if self._older else 0.0
        # PERF: the newest group is kept apart, as numbers instead of a list
        self._began, self._last, self._count = self._older.pop() if self._older else (0.0, 0.0, 0.0)

    @property
    def entries(self) -> list[Entry]:
        newest = [[self._began, self._last, self._count]] if self._count else []
        return [*self._older, *newest]

    @property
    def newest(self) -> float:
        """The time of the last request."""
        return self._last

    def add(self, now: float, step: float) -> None:
        """Count one request, in a new group if the newest group began a step ago."""
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
        """Remove the groups whose last request is a window old or older."""
        older = self._older
        while older and older[0][1] + window <= now:
            self.total -= older.popleft()[2]
        if not older and self._count and self._last + window <= now:
            self.total -= self._count
            self._count = 0.0
        self.oldest = older[0][1] if older else self._last
