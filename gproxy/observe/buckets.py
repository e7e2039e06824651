"""The buckets of histograms: few on the page for Prometheus, and finer ones inside, for percentiles."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Final
from zlib import crc32

#: The fewest parts of a public bucket, and the largest ratio of the bounds of a part: its middle is within 13 %.
_PARTS: Final = 4
_WIDEST: Final = 1.26
#: The most parts, for bounds that are far apart.
_MOST_PARTS: Final = 32
#: The relative error of sums of decayed counts.
_ROUNDING: Final = 1e-9


class Buckets:
    """The buckets between these upper bounds. Each public bucket is divided into four or more inner ones.

    The steps inside a bucket are geometric; in the first one, which begins at 0, each step doubles. What is above the
    last bound has a bucket that is not divided.
    """

    __slots__ = ("_ends", "inner", "key", "public")

    def __init__(self, public: Iterable[float]) -> None:
        #: The upper bounds on the page.
        self.public = tuple(map(float, public))
        parts = [_divided(low, high) for low, high in pairwise((0.0, *self.public))]
        #: The upper bounds inside.
        self.inner = tuple(bound for part in parts for bound in part)
        #: The ends of the public buckets, as indexes of inner ones.
        self._ends = tuple(bisect_left(self.inner, bound) + 1 for bound in self.public)
        #: A short text that differs for other bounds.
        self.key = f"{crc32(repr(self.inner).encode()):08x}"

    @property
    def size(self) -> int:
        """The number of inner buckets, the one above the last bound included."""
        return len(self.inner) + 1

    def fold(self, counts: Sequence[float]) -> list[float]:
        """Return the counts of the public buckets, from those of the inner ones."""
        ends = (0, *self._ends, self.size)
        return [sum(counts[first:end]) for first, end in pairwise(ends)]

    def percentile(self, counts: Sequence[float], share: float) -> float | None:
        """Return the duration that this share of the observations does not exceed, within 13 %; None without any.

        `counts` are those of the inner buckets, perhaps decayed. Beyond the last bound the result is that bound.
        """
        seen = list(accumulate(counts))
        if not seen or seen[-1] <= 0:
            return None
        return self._middle(bisect_left(seen, share * seen[-1] * (1 - _ROUNDING)))

    def _middle(self, place: int) -> float:
        if place >= len(self.inner):
            return self.inner[-1]
        return math.sqrt(self.inner[place - 1] * self.inner[place]) if place else self.inner[0] / 2


def _divided(low: float, high: float) -> Iterator[float]:
    """Yield the upper bounds of the parts of a bucket; the last one is exactly `high`."""
    if low:
        parts = min(_MOST_PARTS, max(_PARTS, math.ceil(math.log(high / low, _WIDEST))))
        yield from (low * (high / low) ** (part / parts) for part in range(1, parts))
    else:
        yield from (high / 2**part for part in range(_PARTS - 1, 0, -1))
    yield high
