"""The failed and slow requests of the last time, newest last, as workers feed them."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from operator import itemgetter
from typing import Any, Final

from gproxy.monitor.processes.worker_lines import WorkerRef
from gproxy.monitor.times import rfc3339

#: The most requests that are kept.
MOST: Final = 1000

Entry = Mapping[str, Any]
Filter = Callable[[Entry], bool]


class RecentRequests:
    """The last MOST failed and slow requests of all workers."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=MOST)

    def take(self, worker: WorkerRef, when: float, fields: Mapping[str, Any]) -> None:
        """Add what a worker feeds of an exchange that has ended at this Unix time."""
        place = {"worker": worker.number, "generation": worker.generation}
        times = {"time": rfc3339(when), "started": rfc3339(fields["started"])}
        self._entries.append({**fields, **times, **place})

    def find(self, filters: Iterable[Filter], *, slowest: bool = False, most: int = MOST) -> list[Entry]:
        """Return the entries that all filters hold for, the newest or the slowest first."""
        chosen = list(filters)
        found = (entry for entry in reversed(self._entries) if all(holds(entry) for holds in chosen))
        ordered = sorted(found, key=itemgetter("duration"), reverse=True) if slowest else found
        return list(islice(ordered, most))

    def of_id(self, identity: str) -> Entry | None:
        """Return the newest entry with this id; None without one."""
        return next((entry for entry in reversed(self._entries) if entry["id"] == identity), None)


def of_status(text: str) -> Filter:
    """Return the filter of statuses such as `5xx,404`. Raises ValueError."""
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if not (len(word) == 3 and word[0] in "12345" and (word[1:] == "xx" or word[1:].isdecimal())):
            raise ValueError("expected statuses such as 5xx or 404,502")
    return lambda entry: str(entry["status"]) in words or f"{entry['status'] // 100}xx" in words


def of_field(name: str, value: str) -> Filter:
    """Return the filter of a field with this value."""
    return lambda entry: entry[name] == value
