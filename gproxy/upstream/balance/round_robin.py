"""In turn."""

from collections.abc import Sequence
from math import gcd
from operator import add
from typing import Final

from gproxy.http.request import Request
from gproxy.state.shared.memory import SharedState
from gproxy.upstream.backend import Backend
from gproxy.upstream.balance.policy import BalancingPolicy

#: Weights are rounded so that all have had their turns after so many.
_LONGEST_CYCLE: Final = 10_000


class RoundRobin(BalancingPolicy):
    """In exact turn; with weights, as many turns of a cycle as they say, interleaved instead of in runs."""

    def __init__(self) -> None:
        super().__init__()
        #: Where in the cycle it is; whoever shares it or keeps it may set it to any number from 0 on.
        self.turn = 0
        self._cycle: Sequence[Backend] = ()
        #: Those of requests that have failed elsewhere, which go round evenly.
        self._extra = 0

    def set_candidates(self, backends: Sequence[Backend]) -> None:
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


class SharedTurns(BalancingPolicy):
    """Round robin in which all workers take turns together."""

    def __init__(self, own: RoundRobin, state: SharedState, upstream: str) -> None:
        self._own = own
        self._area = state.area(f"turns of {upstream}", 8)
        self._mutex = state.mutexes(f"turns of {upstream}")(0)
        if self._area and not self._area.words[0]:
            self._area.words[0] = own.turn

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend:
        own, area = self._own, self._area
        if area is None:
            return own.pick(backends, request)
        with self._mutex:
            own.turn = area.words[0]
            backend = own.pick(backends, request)
            area.words[0] = own.turn
        return backend

    def set_candidates(self, backends: Sequence[Backend]) -> None:
        """As the policy itself."""
        self._own.set_candidates(backends)

    def pick_again(self, backends: Sequence[Backend], request: Request) -> Backend:
        """As the policy itself: it is nobody's turn."""
        return self._own.pick_again(backends, request)

    def end(self) -> RoundRobin:
        """The policy itself, which goes on where all have come to."""
        if self._area:
            self._own.turn = self._area.words[0]
            self._area.wipe()
        return self._own
