"""A backend that came back gets its share little by little: its caches are cold, its connections are not made yet."""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from gproxy.upstream.backend import Backend

#: The share to begin with.
_LEAST: Final = 0.01


class SlowStart:
    """Lets each of the backends that are warming up be picked as often as its weight says, times how far it is.

    Every pick gives each of them credit for its part of all picks, and being picked costs 1; so it works with every
    policy that has a choice, and is exact with those that take turns.
    """

    def __init__(self, period: float) -> None:
        self.clock: Callable[[], float] = monotonic
        #: The credit of those that are warming up.
        self.warming: dict[Backend, float] = {}
        self._period = period
        #: The weight of the others.
        self._steady = 0

    def expect(self, backends: Sequence[Backend], now: float) -> float | None:
        """These take part from now on. When the first of them has warmed up; None if none is warming up."""
        self.warming = {
            backend: self.warming.get(backend, 0.0) for backend in backends if now < backend.returned_at + self._period
        }
        self._steady = sum(backend.weight for backend in backends if backend not in self.warming)
        return min((backend.returned_at + self._period for backend in self.warming), default=None)

    def admits(self, backend: Backend) -> bool:
        """Asked once a pick: may it be the one?"""
        self._give_credit()
        if backend not in self.warming:
            return True
        if self.warming[backend] < 1 - 1e-9:
            return False
        self.warming[backend] -= 1
        return True

    def instead(self, backends: Sequence[Backend]) -> Sequence[Backend]:
        """Who may be picked after somebody was not admitted; if all are warming up, it is whoever has most credit."""
        warming = self.warming
        others = [backend for backend in backends if backend not in warming]
        if others or not backends:
            return others
        best = max(backends, key=warming.__getitem__)
        warming[best] -= 1
        return [best]

    def _give_credit(self) -> None:
        now = self.clock()
        weights = {backend: backend.weight * self._share(backend, now) for backend in self.warming}
        total = self._steady + sum(weights.values())
        for backend, weight in weights.items():
            self.warming[backend] = min(2.0, self.warming[backend] + weight / total)

    def _share(self, backend: Backend, now: float) -> float:
        return min(1.0, max(_LEAST, (now - backend.returned_at) / self._period))
