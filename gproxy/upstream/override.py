"""A run-time change of one backend: its state or its weight, in place of what the file says."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

#: The states that an operator can set.
STATES: Final = ("drain", "up", "down")
#: The greatest weight: as that of a file.
MOST_WEIGHT: Final = 999_999_999


@dataclass(frozen=True, slots=True)
class BackendOverride:
    """A change by an operator. None leaves what the file says. `until` and `since` are Unix times.

    `up` ends a `down` or `drain` of the file; health checks and ejections still count.
    """

    state: str | None = None
    weight: int | None = None
    until: float = math.inf
    author: str = ""
    since: float = 0.0

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Return the override with these fields, as `describe` gives them. Raises ValueError."""
        state, weight, until = fields.get("state"), fields.get("weight"), fields.get("until")
        if state is not None and state not in STATES:
            raise ValueError(f"state: expected {', '.join(STATES)}; found {state!r}")
        if weight is not None and not 0 <= weight <= MOST_WEIGHT:
            raise ValueError(f"weight: expected a number from 0 to {MOST_WEIGHT}; found {weight}")
        if state is None and weight is None:
            raise ValueError("expected state or weight")
        author, since = str(fields.get("author", "")), float(fields.get("since", 0.0))
        return cls(state, weight, math.inf if until is None else float(until), author, since)

    def describe(self) -> dict[str, Any]:
        """Return the fields as JSON has them; `until` is None for an override without an end."""
        until = None if self.until == math.inf else self.until
        return {"state": self.state, "weight": self.weight, "until": until, "author": self.author, "since": self.since}
