"""Throttled warnings, which a failing backend would otherwise repeat thousands of times a second."""

import logging
from collections.abc import Callable


class Throttle:
    """A throttle of warnings: the first of each kind is logged, then once a period the number of further ones.

    Further ones are logged at level debug. The memory is bounded by the number of kinds, so a kind contains nothing
    that clients choose. A kind without warnings for a period starts again.
    """

    def __init__(self, log: logging.Logger, clock: Callable[[], float], period: float = 10.0) -> None:
        self._log = log
        self._clock = clock
        self._period = period
        #: For each kind the beginning of its period, and the number of further warnings since.
        self._kinds: dict[str, tuple[float, int]] = {}

    def warn(self, kind: str, message: str, *arguments: object, error: BaseException | None = None) -> None:
        """Log the warning, or count it as a further one. The line with their number begins with `kind`.

        The record has the traceback of `error`.
        """
        since, more = self._kinds.get(kind, (self._clock(), -1))
        self._kinds[kind] = since, more + 1
        self._log.log(logging.WARNING if more < 0 else logging.DEBUG, message, *arguments, exc_info=error)

    def summarize(self) -> None:
        """Log the number of further warnings of each kind whose period is over; to be called once a second."""
        now = self._clock()
        for kind, (since, more) in list(self._kinds.items()):
            if now - since < self._period:
                continue
            if more:
                self._kinds[kind] = now, 0
                self._log.warning("%s: %d more within %g s", kind, more, self._period)
            else:
                del self._kinds[kind]
