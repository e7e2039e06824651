"""The policy `round_robin`, with smooth weights; all workers can share its turn."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from math import gcd
from operator import add
from typing import Any, Final

from gproxy.http.request import Request
from gproxy.state.shared.memory import Region, SharedState
from gproxy.upstream.backend import Backend
from gproxy.upstream.balance.policy import BalancingPolicy

#: The longest cycle; larger weights are scaled down to it.
_LONGEST_CYCLE: Final = 10_000


class RoundRobin(BalancingPolicy):
    """A policy that picks in exact rotation; a backend has as many turns in a cycle as its weight, interleaved."""

    def __init__(self) -> None:
        #: The position in the cycle, any number from 0 on; while workers share it, the last one that this worker saw.
        self.turn = 0
        #: The turn that all workers share; None while this worker has a turn of its own.
        self._shared_turn: Region | None = None
        self._mutex: AbstractContextManager[Any] = nullcontext()
        self._cycle: Sequence[Backend] = ()
        self._members: frozenset[Backend] = frozenset()
        #: The rotation of retries.
        self._extra = 0

    def set_candidates(self, backends: Sequence[Backend]) -> None:
        self._backends = backends
        self._members = frozenset(backends)
        self._cycle = interleaved(backends)

    def share(self, state: SharedState, upstream: str) -> None:
        """Continue at the turn that all workers share; without room in the shared memory, keep the own turn."""
        turn = state.area(f"turns of {upstream}", 8)
        if turn is None:
            return
        self._shared_turn, self._mutex = turn, state.mutexes(f"turns of {upstream}")(0)
        if not turn.words[0]:
            turn.words[0] = self.turn

    def unshare(self) -> None:
        """Continue alone, at the turn that all workers have reached."""
        if self._shared_turn is not None:
            self.turn = self._shared_turn.words[0]
            self._shared_turn.wipe()
            self._shared_turn = None

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend:  # noqa: ARG002
        if self._shared_turn is not None:
            return self._pick_together(self._shared_turn, backends)
        if backends is not self._backends:
            return self._next_of(backends)
        cycle = self._cycle  # PERF: what `_next_of` would do
        turn = self.turn % len(cycle)
        self.turn = turn + 1
        return cycle[turn]

    def _pick_together(self, shared: Region, backends: Sequence[Backend]) -> Backend:
        """Pick by the turn that all workers share."""
        with self._mutex:
            self.turn = shared.words[0]
            backend = self._next_of(backends)
            shared.words[0] = self.turn
        return backend

    def pick_again(self, backends: Sequence[Backend], request: Request) -> Backend:  # noqa: ARG002
        """Pick a backend for a retry, without a turn of the cycle.

        A retry that took the next turn would shift the cycle: with one failing backend of two, every new request would
        begin at the failing one.
        """
        self._extra += 1
        return backends[self._extra % len(backends)]

    def _next_of(self, backends: Sequence[Backend]) -> Backend:
        """Pick the next of these backends in the cycle; the others lose their turns, so the shares stay even."""
        cycle, wanted = self._cycle, self._members if backends is self._backends else frozenset(backends)
        for turn in range(self.turn, self.turn + len(cycle)):
            backend = cycle[turn % len(cycle)]
            if backend in wanted:
                self.turn = turn % len(cycle) + 1
                return backend
        self.turn += 1
        return backends[self.turn % len(backends)]


class SmoothWeights:
    """Smooth weighted round robin over numbers from 0 on: the weights 5, 1 and 1 give 0 0 1 0 2 0 0.

    At each turn every number gains its weight as credit. The one with most credit is next, and pays all weights.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        self._weights = weights
        self._total = sum(weights)
        self._credit = [0] * len(weights)

    def next(self) -> int:
        """Return the next number."""
        credit = self._credit = list(map(add, self._credit, self._weights))
        richest = credit.index(max(credit))
        credit[richest] -= self._total
        return richest


def interleaved(backends: Sequence[Backend]) -> Sequence[Backend]:
    """Return the cycle of smooth weighted round robin: the weights 5, 1 and 1 give a a b a c a a."""
    weights = _small([backend.weight for backend in backends])
    total = sum(weights)
    if total == len(weights):
        return backends
    turns = SmoothWeights(weights)
    return [backends[turns.next()] for _ in range(total)]


def _small(weights: list[int]) -> list[int]:
    """Return smaller weights of the same proportions, rounded if the cycle would be too long."""
    excess = sum(weights) / _LONGEST_CYCLE
    if excess > 1:
        weights = [max(1, round(weight / excess)) for weight in weights]
    common = gcd(*weights)
    return [weight // common for weight in weights]
