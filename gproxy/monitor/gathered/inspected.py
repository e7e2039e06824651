"""The last requests with their heads, bodies and changes, as the workers of `gproxy dev` feed them."""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from gproxy.monitor.processes.worker_lines import WorkerRef
from gproxy.monitor.times import rfc3339

#: The most requests that are kept, and the most bytes of them together.
MOST: Final = 200
_MOST_BYTES: Final = 32 * 1024 * 1024

#: The fields of a summary.
_SUMMARY: Final = (
    "number", "id", "time", "client", "user", "method", "target", "host", "route", "upstream", "backend", "tries",
    "status", "reason", "duration", "worker", "generation",
)  # fmt: skip

Entry = Mapping[str, Any]


class InspectedRequests:
    """The last MOST requests, each with a number of its own; the oldest go if they need too much room."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        #: The number of the newest request; 0 before the first.
        self.newest = 0
        #: The number of requests that came too fast to be fed.
        self.omitted = 0
        self._bytes = 0

    def take(self, worker: WorkerRef, when: float, fields: Mapping[str, Any]) -> None:
        """Add what a worker feeds of an exchange that has ended at this Unix time."""
        self.newest += 1
        self.omitted += fields["omitted"]
        place = {"number": self.newest, "worker": worker.number, "generation": worker.generation}
        self._entries.append({**fields, **place, "ended": when, "time": rfc3339(fields["started"])})
        self._bytes += fields["size"]
        while len(self._entries) > MOST or (self._bytes > _MOST_BYTES and len(self._entries) > 1):
            self._bytes -= self._entries.popleft()["size"]

    def last(self) -> list[Entry]:
        """Return all entries, the newest first."""
        return list(reversed(self._entries))

    def of_number(self, number: int) -> Entry | None:
        """Return the entry with this number; None if it is gone."""
        return next((entry for entry in self._entries if entry["number"] == number), None)

    def of_id(self, identity: str, after: int) -> Entry | None:
        """Return the newest entry with this request id whose number is higher; None without one."""
        found = (entry for entry in self.last() if entry["id"] == identity and entry["number"] > after)
        return next(found, None)

    def clear(self) -> int:
        """Forget all entries, and return how many there were."""
        count = len(self._entries)
        self._entries.clear()
        self._bytes = self.omitted = 0
        return count


def summary(entry: Entry) -> dict[str, Any]:
    """Return the fields of an entry that a list shows, with the names of the steps that changed something."""
    changed = [step["name"] for step in entry["steps"] if step["name"] and (step["down"] or step["up"])]
    return {**{name: entry[name] for name in _SUMMARY}, "changed_by": list(dict.fromkeys(changed))}
