"""The requests under way of each client: in one process, and in memory that several processes share.

Each process counts its own requests, and publishes the counts in a row of its own, which only it writes. A table of
tags assigns the cells: a client's cell has the same number in all rows. A count is the sum of a client's cells. So a
request that ends is one store. A killed process takes its counts with it: its row counts no more, and the next owner
clears it. Record locks show which rows have a living owner.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

import gevent

from gproxy.state.rate_limit.shared_limiter import tag_of
from gproxy.state.shared.memory import Region, SharedState

#: The cells in a set; the look-up of a client reads their tags.
_WAYS: Final = 16
#: The most processes at a time, draining ones included.
_ROWS: Final = 512
#: The number of clients to publish before other greenlets get a turn.
_AT_ONCE: Final = 200
#: Words before the tags: the number of rows ever used.
_HEAD: Final = 8
_NO_CELL: Final = -1


class ClientRequests:
    """The requests of one client that are under way in this process, and the client's cell in the table."""

    __slots__ = ("cell", "count", "key")

    def __init__(self, key: str) -> None:
        self.key = key
        self.count = 0
        self.cell = _NO_CELL


class ConcurrentRequests:
    """The requests under way of all clients. `uncounted` counts the requests for which there was no room."""

    def __init__(self, name: str, max_keys: int) -> None:
        self._name = name
        self._max_keys = max_keys
        self._clients: dict[str, ClientRequests] = {}
        self._table: RequestTable | None = None
        self.uncounted = 0

    def enter(self, key: str, limit: int) -> Callable[[], None] | None:
        """Count a request of the client. Return the function that ends it, to call once; None above the limit.

        Beyond `max_keys` clients with requests under way, those of further ones are admitted and not counted.
        """
        client = self._clients.get(key)
        if client is None:
            if len(self._clients) >= self._max_keys:
                self.uncounted += 1
                return _nothing
            client = ClientRequests(key)
        if not (client.count < limit if self._table is None else self._table.admit(client, limit)):
            return None
        client.count += 1
        self._clients[key] = client
        return partial(self._leave, client)

    def _leave(self, client: ClientRequests) -> None:
        client.count -= 1
        if self._table is not None:
            self._table.publish(client)
        if not client.count:
            del self._clients[client.key]

    def share(self, state: SharedState) -> None:
        """Publish the counts, and count those of other processes from now on."""
        self._table = table = RequestTable.open(state, self._name, self._max_keys)
        if table is None:
            return
        for number, client in enumerate([*self._clients.values()], 1):
            if client.count and client.cell == _NO_CELL:
                table.place(client)
            if number % _AT_ONCE == 0:
                gevent.sleep(0)

    def unshare(self, _: SharedState) -> None:
        """Count the requests of this process alone."""
        table, self._table = self._table, None
        for client in self._clients.values():
            client.cell = _NO_CELL
        if table is not None:
            table.close()


class RequestTable:
    """The counts of all processes under one name, as one of them sees it."""

    def __init__(self, state: SharedState, name: str, tags: Region, ways: int, row: Region, number: int) -> None:
        self._state = state
        self._name = name
        self._tags = tags.words
        self._tag = partial(tag_of, state.secret)
        self._mutexes = state.mutexes(name)
        self._ways = ways
        self._sets = (len(self._tags) - _HEAD) // ways
        #: By number: the cells of all processes; None for a row without room.
        self._rows: list[memoryview[int] | None] = []
        self._number = number
        self._own = row.quads
        row.wipe()  # of what its last owner has left
        with self._mutexes(0):
            self._tags[0] = max(self._tags[0], number + 1)

    @classmethod
    def open(cls, state: SharedState, name: str, max_keys: int) -> "RequestTable | None":
        """Open the table with a row for this process; None without room. A table in use keeps its size."""
        ways = min(_WAYS, max_keys)
        tags = state.area(f"concurrency:{name}:{ways}", (-(-max_keys // ways) * ways + _HEAD) * 8)
        number = next((number for number in range(_ROWS) if state.lead(_lock(name, number))), None)
        if tags is None or number is None:
            return None
        row = state.area(_row(name, len(tags.words), number), len(tags.words) * 4)
        return cls(state, name, tags, ways, row, number) if row else None

    def close(self) -> None:
        """Clear and release the row."""
        self._own[:] = memoryview(bytes(4 * len(self._own))).cast("I")
        self._state.resign(_lock(self._name, self._number))

    def admit(self, client: ClientRequests, limit: int) -> bool:
        """Return whether the limit allows one more request of the client, and publish it then."""
        tag = self._tag(client.key)
        with self._mutexes(tag % self._sets):
            if client.cell == _NO_CELL:
                self._place(client, tag)
            if client.cell == _NO_CELL:  # no room: this process counts for itself
                return client.count < limit
            if self._sum(client.cell) >= limit and self._living_sum(client.cell) >= limit:
                return False
            self._own[client.cell] = client.count + 1
        return True

    def place(self, client: ClientRequests) -> None:
        """Find a cell for a client that has requests under way, and publish them."""
        tag = self._tag(client.key)
        with self._mutexes(tag % self._sets):
            self._place(client, tag)

    def _place(self, client: ClientRequests, tag: int) -> None:
        begin = tag % self._sets * self._ways
        tags = self._tags[_HEAD + begin : _HEAD + begin + self._ways].tolist()
        if tag in tags:
            client.cell = begin + tags.index(tag)
        else:
            client.cell = self._free(begin, self._sum)
            if client.cell == _NO_CELL:
                client.cell = self._free(begin, self._living_sum)
            if client.cell == _NO_CELL:
                return
            self._tags[_HEAD + client.cell] = tag
        self._own[client.cell] = client.count

    def _free(self, begin: int, count: Callable[[int], int]) -> int:
        """Return a cell of the set without requests; -1 if there is none."""
        return next((cell for cell in range(begin, begin + self._ways) if not count(cell)), _NO_CELL)

    def publish(self, client: ClientRequests) -> None:
        """Publish the present count of the client. PERF: without a mutex, because no other process writes the cell."""
        if client.cell != _NO_CELL:
            self._own[client.cell] = client.count

    def _sum(self, cell: int) -> int:
        """Return the count of all rows, those of ended processes too."""
        if len(self._rows) < self._tags[0]:
            self._open_rows()
        return sum(row[cell] for row in self._rows if row is not None)

    def _open_rows(self) -> None:
        for number in range(len(self._rows), self._tags[0]):
            row = self._state.area(_row(self._name, len(self._tags), number), len(self._tags) * 4)
            self._rows.append(row.quads if row else None)

    def _living_sum(self, cell: int) -> int:
        """Return the count of the rows that have a living owner, which costs a system call for each."""
        return sum(row[cell] for number, row in enumerate(self._rows) if row and row[cell] and self._lives(number))

    def _lives(self, number: int) -> bool:
        return number == self._number or self._state.is_led(_lock(self._name, number))


def _nothing() -> None:
    """End a request that was not counted."""


def _lock(name: str, number: int) -> str:
    """Return the name of the lock that the owner of a row holds."""
    return f"concurrency of {name} in {number}"


def _row(name: str, size: int, number: int) -> str:
    """Return the name of the area of a row, for a table of this size."""
    return f"concurrency:{name}:{size}:{number}"
