"""The policies `random` and `p2c`: a draw by weight, and the less loaded of two draws."""

from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random as Generator

from gproxy.http.request import Request
from gproxy.runtime import Runtime
from gproxy.upstream.backend import Backend
from gproxy.upstream.balance.policy import BalancingPolicy

_Random = Callable[[], float]


class Lottery:
    """A weighted draw of backends."""

    __slots__ = ("_backends", "_last", "_upto")

    def __init__(self, backends: Sequence[Backend]) -> None:
        self._backends = backends
        #: The running totals of the weights: a backend is drawn if a point lies between two of them.
        self._upto = list(accumulate(backend.weight for backend in backends))
        self._last = len(backends) - 1

    def one(self, random: _Random) -> Backend:
        return self._backends[bisect(self._upto, random() * self._upto[-1], 0, self._last)]

    def two(self, random: _Random) -> tuple[Backend, Backend]:
        """Draw two different backends, in the order of the draw; there must be at least two."""
        upto, last = self._upto, self._last
        first = bisect(upto, random() * upto[-1], 0, last)
        end = upto[first]
        weight = end - upto[first - 1] if first else end
        point = random() * (upto[-1] - weight)
        if point >= end - weight:  # skip the part of the first backend
            point += weight
        return self._backends[first], self._backends[bisect(upto, point, 0, last)]


@dataclass(eq=False, repr=False)
class Draw(BalancingPolicy):
    """A base class of policies that draw."""

    _random: _Random = field(init=False, default_factory=lambda: Generator().random)  # noqa: S311 no secret
    _lottery: Lottery = field(init=False, default_factory=lambda: Lottery(()))

    def use(self, runtime: Runtime) -> None:
        self._random = runtime.random.random

    def set_candidates(self, backends: Sequence[Backend]) -> None:
        self._backends = backends
        self._lottery = Lottery(backends)


@dataclass(eq=False, repr=False)
class Random(Draw):
    """A policy that draws a backend by weight."""

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend:  # noqa: ARG002
        lottery = self._lottery if backends is self._backends else Lottery(backends)
        return lottery.one(self._random)


@dataclass(eq=False, repr=False)
class PowerOfTwo(Draw):
    """A policy that draws two backends by weight and picks the one with less load by weight.

    It balances nearly as well as the least loaded of all, and several gateways do not choose the same backend at once.
    """

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend:  # noqa: ARG002
        if len(backends) == 1:
            return backends[0]
        lottery = self._lottery if backends is self._backends else Lottery(backends)
        one, other = lottery.two(self._random)
        return other if other.active * one.weight < one.active * other.weight else one
