"""A number that takes milliseconds to count, so that it is counted seldom."""

from collections.abc import Callable
from typing import Final

#: Seconds between two counts at least, and how much longer than a count the pause after it is.
_LEAST: Final = 10.0
_TIMES: Final = 2000.0


class Seldom:
    """The result of a function, called at most every ten seconds, and less often if it takes more than 5 ms."""

    def __init__(self, count: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._count = count
        self._monotonic = monotonic
        self._last = 0.0
        self._next = 0.0

    def __call__(self) -> float:
        """Return the last result, or a new one if it is time."""
        began = self._monotonic()
        if began >= self._next:
            self._last = self._count()
            ended = self._monotonic()
            self._next = ended + max(_LEAST, _TIMES * (ended - began))
        return self._last
