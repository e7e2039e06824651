"""What a check has found."""

from dataclasses import dataclass
from math import inf


class NotMeasuredError(Exception):
    """Something else went wrong, so there is no figure."""


@dataclass(frozen=True)
class Figure:
    """A measured value, to be at most `limit`."""

    what: str
    value: float
    unit: str = ""
    limit: float = inf

    @property
    def ok(self):
        return self.value <= self.limit

    def __str__(self):
        verdict = ("ok" if self.ok else "FAILED") if self.limit < inf else ""
        allowed = f"<= {self.limit:g}" if self.limit < inf else ""
        return f"{self.what:58}{self.value:10.2f} {self.unit:7}{allowed:>10}  {verdict}".rstrip()
