"""`[job:NAME]`: a function of the user that runs at times."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Literal, Self

from gproxy.config.ini.build import NOT_AN_OPTION, doc
from gproxy.config.ini.parser import RawSection
from gproxy.config.problems import Problem
from gproxy.config.record import Record
from gproxy.config.sections import rules
from gproxy.config.types import ModuleRef, Seconds

#: The shortest time between two runs.
_SHORTEST: Final = 1.0
_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME: Final = re.compile(r"(?:([a-z]+) +)?([0-9]{1,2}):([0-9]{2})")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DayTime(Record):
    """A time of day, on each day or on one day of the week: 0 is Monday."""

    noun: ClassVar[str] = "a time of day"
    example: ClassVar[str] = "03:30, or mon 06:00"

    hour: int
    minute: int
    weekday: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the time in `text`: `03:30` or `mon 06:00`. Raise ValueError with the problem."""
        match = _TIME.fullmatch(text.strip().lower())
        if not match:
            raise ValueError
        day, hour, minute = match[1], int(match[2]), int(match[3])
        if hour > 23 or minute > 59:
            raise ValueError("the times are 00:00 to 23:59")
        if day and day[:3] not in _WEEKDAYS:
            raise ValueError(f"the days are {', '.join(_WEEKDAYS)}")
        return cls(hour, minute, _WEEKDAYS.index(day[:3]) if day else None)

    def __str__(self) -> str:
        day = "" if self.weekday is None else f"{_WEEKDAYS[self.weekday]} "
        return f"{day}{self.hour:02}:{self.minute:02}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class JobSettings(Record):
    """`[job:NAME]`: a function of the user that runs at times. `function` is the function itself, once imported."""

    name: str
    use: ModuleRef = field(metadata=doc("function that is called with the runtime, as MODULE:NAME"))
    every: Seconds | None = field(
        default=None, metadata=doc("time between two runs, which begin at its multiples since 1970 UTC")
    )
    at: tuple[DayTime, ...] = field(
        default=(), metadata=doc("times of day in the worker's zone, each on all days or on one of the week")
    )
    on: Literal["one", "worker"] = field(
        default="one", metadata=doc("one: a run in one worker of this machine; worker: in each worker")
    )
    jitter: Seconds = field(default=Seconds(0), metadata=doc("longest random delay of a run"))
    timeout: Seconds | None = field(default=None, metadata=doc("time after which a run is ended; none: no limit"))
    on_start: bool = field(
        default=False, metadata=doc("whether the job also runs at the start of the gateway; on = worker: of a worker")
    )
    function: Callable[[Any], object] | None = field(default=None, metadata=NOT_AN_OPTION, compare=False, repr=False)

    def __post_init__(self) -> None:
        rules.raise_problems(
            rules.require(self.every is None or not self.at, "at", "expected every or at, not both"),
            rules.require(self.every is None or self.every >= _SHORTEST, "every", f"expected at least {_SHORTEST:g}s"),
            rules.require(self.every is None or self.jitter < self.every, "jitter", "expected less than every"),
            rules.positive(self, "timeout"),
            rules.distinct(self, "at"),
        )

    def with_function(self, function: Callable[[Any], object] | None) -> Self:
        """Return these settings with the function."""
        return replace(self, function=function)


#: Imports the function of a job by its `use`, so that `load` reports its problems.
BuildJob = Callable[[ModuleRef, RawSection, list[Problem]], Callable[[Any], object] | None]
