"""The policy `round_robin`, with smooth weights; all workers can share its turn."""

from collections.abc import Sequence
from math import gcd
from operator import add
from typing import Final

from gproxy.http.request import Request
from gproxy.state.shared.memory import SharedState
from gproxy.upstream.backend import Backend
from gproxy.upstream.balance.policy import BalancingPolicy

#: The longest cycle; larger weights are scaled down to it.
_LONGEST_CYCLE: Final = 10_000


class RoundRobin(BalancingPolicy):
    """A policy that picks in exact rotation; a backend has as many turns in a cycle as its weight, interleaved."""

    def __init__(self) -> None:
        super().__init__()
        #: The position in the cycle; another owner may set it to any number from 0 on.
        self.turn = 0
        self._cycle: Sequence[Backend] = ()
        #: The rotation of retries.
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
        """Pick a backend for a retry, without a turn of the cycle.

        A retry that took the next turn would shift the cycle: with one failing backend of two, every new request would
        begin at the failing one.
        """
        self._extra += 1
        return backends[self._extra % len(backends)]

    def _next_of(self, backends: Sequence[Backend]) -> Backend:
        """Pick the next of these backends in the cycle; the others lose their turns, so the shares stay even."""
        cycle, wanted = self._cycle, frozenset(backends)
        for turn in range(self.turn, self.turn + len(cycle)):
            backend = cycle[turn % len(cycle)]
            if backend in wanted:
                self.turn = turn % len(cycle) + 1
                return backend
        self.turn += 1
        return backends[self.turn % len(backends)]


def interleaved(backends: Sequence[Backend]) -> Sequence[Backend]:
    """Return the cycle of smooth weighted round robin: the weights 5, 1 and 1 give a a b a c a a.

    At each turn every backend gains its weight as credit. The one with most credit is next, and pays all weights.
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
    """Return smaller weights of the same proportions, rounded if the cycle would be too long."""
    excess = sum(weights) / _LONGEST_CYCLE
    if excess > 1:
        weights = [max(1, round(weight / excess)) for weight in weights]
    common = gcd(*weights)
    return [weight // common for weight in weights]


class SharedTurns(BalancingPolicy):
    """Round robin with one turn for all workers, kept in shared memory."""

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
        """Set the candidates of this worker's policy."""
        self._own.set_candidates(backends)

    def pick_again(self, backends: Sequence[Backend], request: Request) -> Backend:
        """Pick a backend for a retry, without a turn of the cycle."""
        return self._own.pick_again(backends, request)

    def end(self) -> RoundRobin:
        """Return this worker's policy, at the turn that all workers have reached."""
        if self._area:
            self._own.turn = self._area.words[0]
            self._area.wipe()
        return self._own
