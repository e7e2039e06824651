"""The clients that follow records as they come: each has a bounded queue, and what it misses is counted."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from gevent.event import Event

#: The most records that wait for a client.
_MOST: Final = 1000
#: Seconds without a record after which the client gets a sign of life.
_SILENCE: Final = 5.0

Record = Mapping[str, Any]


class Subscription:
    """The records of one client."""

    def __init__(self) -> None:
        self._waiting: deque[Record] = deque()
        self._omitted = 0
        self._has_more = Event()

    def put(self, record: Record) -> None:
        """Add a record."""
        if len(self._waiting) >= _MOST:
            self.omit(1)
        else:
            self._waiting.append(record)
            self._has_more.set()

    def omit(self, count: int) -> None:
        """Count records that the client misses."""
        self._omitted += count
        self._has_more.set()

    def records(self) -> Iterator[Record | None]:
        """Yield the records as they come, `{"omitted": N}` for those that are missing, and None as a sign of life."""
        while True:
            if not self._has_more.wait(_SILENCE):
                yield None
            self._has_more.clear()
            if self._omitted:
                omitted, self._omitted = self._omitted, 0
                yield {"omitted": omitted}
            while self._waiting:
                yield self._waiting.popleft()


class Subscriptions:
    """All clients that follow the same records."""

    def __init__(self) -> None:
        self._all: set[Subscription] = set()

    def __len__(self) -> int:
        return len(self._all)

    def put(self, record: Record) -> None:
        """Give a record to each client."""
        for one in self._all:
            one.put(record)

    def omit(self, count: int) -> None:
        """Count records that all clients miss."""
        for one in self._all:
            one.omit(count)

    def follow(self, before: Callable[[], Iterable[Record]] = list) -> Iterator[Record | None]:
        """Yield None, what `before` returns, then the records for a new client, of which none is missing or doubled.

        The client is there once it has the first one.
        """
        subscription = Subscription()
        self._all.add(subscription)
        try:
            earlier = list(before())
            yield None
            yield from earlier
            yield from subscription.records()
        finally:
            self._all.discard(subscription)
