"""A reload with those that wait for its outcome, the ones that follow it, and the outcomes of the last ones."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from time import time
from typing import Any, Final

from gproxy.arbiter.generations.history import Reading
from gproxy.config.record import Record

#: Answers an order: whether it succeeded, and its result.
Reply = Callable[[bool, dict[str, Any]], None]

#: The outcomes that are kept.
_RECORDS: Final = 10
#: The most reasons of a failure that are kept and passed on: a file may have a problem on every line.
_REASONS: Final = 50
#: The most reloads that wait for the current one. Those that read the file are one, so only rollbacks add up.
_WAITING: Final = 10


@dataclass(slots=True)
class Reload:
    """A reload, under way or waiting.

    A rollback takes its settings and code from `reading`, by default that of the generation before, which is found when
    it begins. A dry reload ends before the new generation accepts.
    """

    cause: str
    replies: list[Reply] = field(default_factory=list)
    is_rollback: bool = False
    is_dry: bool = False
    reading: Reading | None = None
    #: Why the gateway reloads by itself; kept with the outcome.
    why: Sequence[str] = ()

    @property
    def is_usual(self) -> bool:
        """True if the reload reads the disk and serves what it finds, as the one of a signal does."""
        return not (self.is_rollback or self.is_dry)

    def settle(self, *, succeeded: bool, **result: object) -> None:
        """Announce the outcome to those that wait for it."""
        for reply in self.replies:
            reply(succeeded, result)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ReloadRecord(Record):
    """The outcome of a reload: the Unix time of its end, and the generation that serves then."""

    time: float
    cause: str
    succeeded: bool
    generation: int
    reasons: Sequence[str] = ()


class ReloadQueue:
    """The reload under way, those that wait for it, and the outcomes of the last ones."""

    def __init__(self) -> None:
        self.current: Reload | None = None
        self._waiting: deque[Reload] = deque()
        self._records: deque[ReloadRecord] = deque(maxlen=_RECORDS)

    @property
    def is_dry(self) -> bool:
        """True if the reload under way is a dry one."""
        return self.current is not None and self.current.is_dry

    def wait(self, reload: Reload) -> None:
        """Let the reload follow the others. One reading of the file after them is enough for all that want one."""
        last = self._waiting[-1] if self._waiting else None
        if last is not None and last.is_usual and reload.is_usual:
            last.cause = reload.cause
            last.replies += reload.replies
        elif len(self._waiting) < _WAITING or not reload.replies:
            self._waiting.append(reload)
        else:
            reload.settle(succeeded=False, reasons=[f"{_WAITING} reloads wait already"])

    def next(self) -> Reload | None:
        """Return the reload that follows, and forget it."""
        return self._waiting.popleft() if self._waiting else None

    def settle(self, generation: int, reasons: Sequence[str] = (), *, succeeded: bool) -> None:
        """Record the outcome of the reload under way, and announce it; `generation` serves from now on."""
        reload, self.current = self.current, None
        if reload is not None:
            first = [*reload.why, *reasons][:_REASONS]
            if not reload.is_dry:
                self._records.append(ReloadRecord(time(), reload.cause, succeeded, generation, first))
            reload.settle(succeeded=succeeded, generation=generation, reasons=first)

    def abandon(self, reason: str) -> None:
        """End the reload under way and all that wait, because the gateway stops."""
        abandoned = [self.current] if self.current else []
        for reload in (*abandoned, *self._waiting):
            reload.settle(succeeded=False, reasons=[reason])
        self.current = None
        self._waiting.clear()

    def records(self) -> list[dict[str, Any]]:
        """Return the outcomes of the last reloads, the oldest first."""
        return [asdict(record) for record in self._records]
