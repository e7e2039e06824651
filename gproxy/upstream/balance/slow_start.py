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

    def set_candidates(self, backends: Sequence[Backend], now: float) -> float | None:
        """These take part from now on. When the first of them has warmed up; None if none is warming up."""
        self.warming = {
            backend: self.warming.get(backend, 0.0) for backend in backends if now < backend.returned_at + self._period
        }
        self._steady = sum(backend.weight for backend in backends if backend not in self.warming)
        return min((backend.returned_at + self._period for backend in self.warming), default=None)

    def earn(self) -> None:
        """Once a pick: everybody's part of it."""
        now = self.clock()
        weights = {backend: backend.weight * self._share(backend, now) for backend in self.warming}
        total = self._steady + sum(weights.values())
        for backend, weight in weights.items():
            self.warming[backend] = min(2.0, self.warming[backend] + weight / total)

    def admits(self, backend: Backend) -> bool:
        """May it be picked?"""
        return self.warming.get(backend, 1.0) > 1 - 1e-9

    def admitted(self, backends: Sequence[Backend]) -> Sequence[Backend]:
        """Who of them may be picked; if nobody may, it is whoever has most credit."""
        found = [backend for backend in backends if self.admits(backend)]
        return found or sorted(backends, key=self.warming.__getitem__)[-1:]

    def spend(self, backend: Backend) -> None:
        """It is picked."""
        if backend in self.warming:
            self.warming[backend] -= 1

    def _share(self, backend: Backend, now: float) -> float:
        return min(1.0, max(_LEAST, (now - backend.returned_at) / self._period))
