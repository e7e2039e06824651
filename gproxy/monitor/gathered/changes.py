"""What has happened to the gateway: reloads, ejections, blocks, actions of operators. These mark the page's graphs."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from gproxy.monitor.processes.worker_lines import WorkerRef
from gproxy.monitor.times import rfc3339

Kind = Literal["reload", "reload_failed", "ejected", "restored", "block", "action", "worker"]
#: The most changes, and the most blocks, that are kept.
_MOST: Final = 500
_MOST_BLOCKS: Final = 100


@dataclass(frozen=True, slots=True)
class Change:
    """A change: its number, its Unix time, its kind, and a sentence without a full stop."""

    number: int
    when: float
    kind: Kind
    text: str

    def describe(self) -> dict[str, Any]:
        """Return the change as JSON has it."""
        return {"number": self.number, "time": rfc3339(self.when), "kind": self.kind, "text": self.text}


class Changes:
    """The last changes, oldest first, and who hears of a new one."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._changes: deque[Change] = deque(maxlen=_MOST)
        self._number = 0
        #: Called with each new change.
        self.listeners: list[Callable[[Change], None]] = []

    def add(self, kind: Kind, text: str) -> None:
        """Note a change that happens now, and tell the listeners."""
        self._number += 1
        change = Change(self._number, self._clock(), kind, text)
        self._changes.append(change)
        for listener in self.listeners:
            listener(change)

    def since(self, when: float = 0.0) -> list[Change]:
        """Return the changes after that Unix time."""
        return [change for change in self._changes if change.when > when]

    def last(self, *kinds: Kind) -> Change | None:
        """Return the last change of these kinds."""
        return next((change for change in reversed(self._changes) if change.kind in kinds), None)

    def after(self, number: int) -> list[Change]:
        """Return the changes after that number; none for a number that this monitor has not given yet."""
        return [change for change in self._changes if change.number > number] if number <= self._number else []


class Blocks:
    """The last blocks of event loops, as the watchdogs of the workers report them. Each is a change, too."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._blocks: deque[Mapping[str, Any]] = deque(maxlen=_MOST_BLOCKS)

    def take(self, worker: WorkerRef, when: float, fields: Mapping[str, Any]) -> None:
        """Note a block that a worker reports."""
        self._blocks.append({**fields, "when": when, "worker": worker.number})
        what = f"handler {fields['handler']}" if fields.get("handler") else "code outside of handlers"
        where = f" at {fields['place']}" if fields.get("place") else ""
        self._changes.add(
            "block", f"{what} blocked worker {worker.number} for {fields['seconds'] * 1000:.0f} ms{where}"
        )

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Return the blocks, newest first."""
        yield from reversed(self._blocks)
