"""In turn."""

from collections.abc import Sequence
from math import gcd
from operator import add
from typing import Final

from gproxy.http.request import Request
from gproxy.upstream.backend import Backend
from gproxy.upstream.balance.balancer import Balancer

#: Weights are rounded so that all have had their turns after so many.
_LONGEST_CYCLE: Final = 10_000


class RoundRobin(Balancer):
    """In exact turn; with weights, as many turns of a cycle as they say, interleaved instead of in runs."""

    def __init__(self) -> None:
        super().__init__()
        #: Where in the cycle it is; whoever shares it or keeps it may set it to any number from 0 on.
        self.turn = 0
        self._cycle: Sequence[Backend] = ()
        #: Those of requests that have failed elsewhere, which go round evenly.
        self._extra = 0

    def expect(self, backends: Sequence[Backend]) -> None:
        self._backends = backends
        self._cycle = interleaved(backends)

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend:  # noqa: ARG002
        if backends is not self._backends:
            return self._next_of(backends)
        cycle = self._cycle
        turn = self.turn % len(cycle)
        self.turn = turn + 1
        return cycle[turn]

    def pick_again(self, backends: Sequence[Backend], request: Request) -> Backend:  # noqa: ARG002
        """Nobody's turn: otherwise every second request would begin with a backend that refuses its turns."""
        self._extra += 1
        return backends[self._extra % len(backends)]

    def _next_of(self, backends: Sequence[Backend]) -> Backend:
        """The others lose their turn, so those after them get no more than before."""
        cycle, wanted = self._cycle, frozenset(backends)
        for turn in range(self.turn, self.turn + len(cycle)):
            backend = cycle[turn % len(cycle)]
            if backend in wanted:
                self.turn = turn % len(cycle) + 1
                return backend
        self.turn += 1
        return backends[self.turn % len(backends)]


def interleaved(backends: Sequence[Backend]) -> Sequence[Backend]:
    """The cycle of smooth weighted round robin: 5, 1 and 1 give a a b a c a a.

    Everybody gains its weight, the richest is next and pays what all gained.
    """
    weights = _small([backend.weight for backend in backends])
    total = sum(weights)
    if total == len(weights):
        return backends
    cycle = []
    credit = [0] * len(weights)
    for _ in range(total):
        credit = list(map(add, credit, weights))
        richest = credit.index(max(credit))
        credit[richest] -= total
        cycle.append(backends[richest])
    return cycle


def _small(weights: list[int]) -> list[int]:
    """The same proportions, or nearly, in smaller numbers."""
    excess = sum(weights) / _LONGEST_CYCLE
    if excess > 1:
        weights = [max(1, round(weight / excess)) for weight in weights]
    common = gcd(*weights)
    return [weight // common for weight in weights]
