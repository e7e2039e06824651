"""By chance, and by chance with a look at the load."""

from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import accumulate
from random import Random as Generator

from gproxy.http.request import Request
from gproxy.runtime import Runtime
from gproxy.upstream.backend import Backend
from gproxy.upstream.balance.policy import BalancingPolicy

_Random = Callable[[], float]


class Lottery:
    """Draws backends, each as often as its weight says."""

    __slots__ = ("_backends", "_last", "_upto")

    def __init__(self, backends: Sequence[Backend]) -> None:
        self._backends = backends
        #: Where on a line as long as all weights together each backend's part ends.
        self._upto = list(accumulate(backend.weight for backend in backends))
        self._last = len(backends) - 1

    def one(self, random: _Random) -> Backend:
        return self._backends[bisect(self._upto, random() * self._upto[-1], 0, self._last)]

    def two(self, random: _Random) -> tuple[Backend, Backend]:
        """Two that are not the same, in the order they were drawn; there must be two."""
        upto, last = self._upto, self._last
        first = bisect(upto, random() * upto[-1], 0, last)
        end = upto[first]
        weight = end - upto[first - 1] if first else end
        point = random() * (upto[-1] - weight)
        if point >= end - weight:  # beyond the part of the first, which is left out
            point += weight
        return self._backends[first], self._backends[bisect(upto, point, 0, last)]


class Draw(BalancingPolicy):
    """What policies that draw share."""

    def __init__(self) -> None:
        super().__init__()
        self._random: _Random = Generator().random  # noqa: S311 no secret
        self._lottery = Lottery(())

    def use(self, runtime: Runtime) -> None:
        self._random = runtime.random.random

    def set_candidates(self, backends: Sequence[Backend]) -> None:
        self._backends = backends
        self._lottery = Lottery(backends)


class Random(Draw):
    """Any of them, by weight."""

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend:  # noqa: ARG002
        lottery = self._lottery if backends is self._backends else Lottery(backends)
        return lottery.one(self._random)


class PowerOfTwo(Draw):
    """Of two drawn by weight the less loaded for its weight: nearly as good as the least loaded, and no herd."""

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend:  # noqa: ARG002
        if len(backends) == 1:
            return backends[0]
        lottery = self._lottery if backends is self._backends else Lottery(backends)
        one, other = lottery.two(self._random)
        return other if other.active * one.weight < one.active * other.weight else one
