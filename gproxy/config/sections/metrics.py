"""`[metrics]`: the bounds of the metrics' number, and of the buckets of histograms."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from gproxy.config.ini.build import doc
from gproxy.config.problems import OptionProblem
from gproxy.config.record import Record
from gproxy.config.sections import rules
from gproxy.config.types import Seconds

#: The most buckets: each one is a line of the page for each route and upstream.
_MOST_BUCKETS: Final = 50
#: The usual upper bounds of buckets, in seconds.
BUCKETS: Final = tuple(
    Seconds(bound) for bound in (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MetricsSettings(Record):
    """`[metrics]`: how many series there may be, and the buckets of histograms."""

    max_series: int = field(
        default=10_000,
        metadata=doc("most combinations of labels in all metrics; label values beyond them become `other`"),
    )
    buckets: tuple[Seconds, ...] = field(
        default=BUCKETS, metadata=doc("upper bounds of the buckets of histograms of durations, in ascending order")
    )

    def __post_init__(self) -> None:
        rules.raise_problems(
            rules.at_least(1, self, "max_series"),
            rules.one_of_them(self, "buckets"),
            _ascending(self.buckets),
        )


def _ascending(bounds: tuple[Seconds, ...]) -> Iterator[OptionProblem]:
    if len(bounds) > _MOST_BUCKETS:
        yield ("buckets",), f"has {len(bounds)} bounds; expected at most {_MOST_BUCKETS}"
    if bounds and bounds[0] <= 0:
        yield ("buckets",), "must be more than 0"
    if any(low >= high for low, high in pairwise(bounds)):
        yield ("buckets",), "expected times in ascending order, such as 10ms, 100ms, 1s"
