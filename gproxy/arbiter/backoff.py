"""The pauses before ended workers start again, counted for each worker number."""

from typing import Final

#: The longest pause between two starts of a worker, in seconds.
_LONGEST: Final = 10.0
#: The longest pause while no other worker is left.
_LONGEST_OF_LAST: Final = 1.0


class Backoff:
    """The quick ends of the workers of one generation: each end of a worker doubles only the pause of its number."""

    def __init__(self) -> None:
        self._quick_ends: dict[int, int] = {}
        #: True if a worker has served since the last one was started at once.
        self._has_served = False

    def note_serving(self) -> None:
        """Note that a worker begins to serve, so that the settings and the modules on disk are usable."""
        self._has_served = True

    def pause(self, number: int, *, is_last: bool) -> float:
        """Count a quick end, or a failed start, and return the seconds until the next start.

        If no worker is left, one starts at once, unless one that did so has never served: it would use up a core.
        """
        ends = self._quick_ends[number] = self._quick_ends.get(number, 0) + 1
        if is_last and self._has_served:
            self._has_served = False
            return 0.0
        # The exponent is bounded against float overflow.
        pause = 0.1 * (1 << min(ends - 2, 10)) if ends > 1 else 0.0
        return min(pause, _LONGEST_OF_LAST if is_last else _LONGEST)

    def forget(self, number: int) -> None:
        """Forget the quick ends of a worker that has served for long enough."""
        self._quick_ends.pop(number, None)
