"""What all workers know of a job, or of the job of one worker number: who runs it, and what came of it.

Record locks say which process leads and which runs the job: the kernel releases them when a process ends. The rest is
an area in the memory of the workers, which outlives each of them.
"""

import math
from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple

from gproxy.state.shared.memory import SharedState

# The words of the area: the last slot that was taken; begin of the last run; begin, length and result of the last one
# that has ended; its last success. Then the reason.
_SLOT: Final = 0
_BEGAN: Final = 1
_LAST: Final = 2
_SECONDS: Final = 3
_RESULT: Final = 4
_SUCCESS: Final = 5
_REASON: Final = 64
_SIZE: Final = 512


class Result(IntEnum):
    """The result of a run, or of a slot without one."""

    SUCCESS = 1
    ERROR = 2
    TIMEOUT = 3
    #: Ended by a stop of the gateway.
    CUT = 4
    #: A slot that came while the run before it was under way.
    SKIPPED = 5

    @property
    def word(self) -> str:
        """The name in metrics and answers."""
        return self.name.lower()


class Outcome(NamedTuple):
    """The end of a run: its begin, its length in seconds, its result, and the reason of a failure."""

    began: float
    seconds: float
    result: Result
    reason: str


class Place:
    """The state of a job that its workers share; without shared memory, that of this process."""

    def __init__(self, name: str, state: SharedState | None) -> None:
        self._leader, self._runner = f"job {name}: leader", f"job {name}: runner"
        self._state = state
        self._mutex = None if state is None else state.mutexes(f"job {name}")(0)
        area = None if state is None else state.area(f"job {name}", _SIZE)
        self._data = memoryview(bytearray(_SIZE)) if area is None else area.data
        self._numbers = self._data[:_REASON].cast("d")
        #: True while this process runs the job; a process never waits for its own record locks.
        self.runs_here = False

    def leads(self) -> bool:
        """Return whether this process is the one that takes the slots; it is until it resigns or ends."""
        return self._state is None or self._state.lead(self._leader)

    def resign(self) -> None:
        """Let another process take the slots."""
        if self._state is not None:
            self._state.resign(self._leader)

    def begin(self, now: float) -> bool:
        """Begin a run; return False if one is under way, here or in another process."""
        if self.runs_here or (self._state is not None and not self._state.lead(self._runner)):
            return False
        self.runs_here = True
        self._numbers[_BEGAN] = now
        return True

    def end(self, outcome: Outcome) -> None:
        """Note the outcome of the run that has begun here, and let another one begin."""
        reason = outcome.reason.encode("utf-8", "backslashreplace")[: _SIZE - _REASON]
        self._store(lambda: self._write(outcome, reason))
        self.runs_here = False
        if self._state is not None:
            self._state.resign(self._runner)

    def _write(self, outcome: Outcome, reason: bytes) -> None:
        numbers = self._numbers
        numbers[_LAST], numbers[_SECONDS], numbers[_RESULT] = outcome.began, outcome.seconds, float(outcome.result)
        self._data[_REASON:] = reason.ljust(_SIZE - _REASON, b"\0")
        if outcome.result is Result.SUCCESS:
            numbers[_SUCCESS] = outcome.began + outcome.seconds

    def _store(self, write: Callable[[], None]) -> None:
        if self._mutex is None:
            write()
        else:
            with self._mutex:
                write()

    def take(self, slot: float) -> None:
        """Note that this process, which leads, has taken the slot, so that no other does."""
        self._numbers[_SLOT] = slot

    def is_taken(self, slot: float, now: float) -> bool:
        """Return whether the slot was taken, or a later one; one in the future is from before clocks were set back."""
        return slot <= self._numbers[_SLOT] <= now

    @property
    def is_new(self) -> bool:
        """True if no process has begun a run since the gateway was started."""
        return self._numbers[_BEGAN] == 0.0

    @property
    def running_since(self) -> float | None:
        """The begin of the run under way in any process; None without one."""
        is_running = self.runs_here or (self._state is not None and self._state.is_led(self._runner))
        return self._numbers[_BEGAN] if is_running else None

    @property
    def success(self) -> float:
        """The end of the last successful run; 0 without one."""
        return self._numbers[_SUCCESS]

    @property
    def last(self) -> Outcome | None:
        """The outcome of the last run that has ended; None without one."""
        found: list[Outcome] = []
        self._store(lambda: found.extend(self._read()))
        return found[0] if found else None

    def _read(self) -> list[Outcome]:
        began, seconds, result = self._numbers[_LAST : _RESULT + 1].tolist()
        if not result or math.isnan(result):
            return []
        reason = bytes(self._data[_REASON:]).rstrip(b"\0").decode(errors="replace")
        return [Outcome(began, seconds, Result(int(result)), reason)]
