"""The self-test of a generation, as the arbiter sees it: a first worker that serves nothing, tests and exits."""

from collections.abc import Sequence


class Trial:
    """The self-test of a generation. It is over once its worker has ended; other workers start then."""

    def __init__(self) -> None:
        #: True once the worker has built the settings: what follows is the test.
        self.has_begun = False
        self.is_over = False
        self.warnings: Sequence[str] = ()
        self._reasons: Sequence[str] | None = None

    def begin(self, warnings: Sequence[str]) -> None:
        """Note that the worker has built the settings, with these warnings."""
        self.has_begun = True
        self.warnings = warnings

    def judge(self, reasons: Sequence[str]) -> None:
        """Note the reasons of a failure; none if the test has passed."""
        self._reasons = reasons

    def end(self, ending: str) -> Sequence[str]:
        """Note the end of the worker; return the reasons of a failure."""
        self.is_over = True
        return [f"{ending} during the self-test"] if self._reasons is None else self._reasons
