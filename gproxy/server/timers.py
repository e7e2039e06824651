"""What the arbiter does later."""

import heapq
import itertools
from collections.abc import Callable
from time import monotonic


class Timers:
    """Functions, each with the time at which it is to be called."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def after(self, seconds: float, function: Callable[[], object]) -> None:
        """Call it once, then."""
        heapq.heappush(self._heap, (monotonic() + seconds, next(self._order), function))

    def every(self, seconds: float, function: Callable[[], object]) -> None:
        """Call it again and again, first after `seconds`."""

        def again() -> None:
            self.after(seconds, again)
            function()

        self.after(seconds, again)

    def wait(self) -> float | None:
        """Seconds until the next one is due; None: there is none."""
        return max(self._heap[0][0] - monotonic(), 0.0) if self._heap else None

    def run(self) -> None:
        """Call those that are due."""
        now = monotonic()
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2]()
