"""Slow start: a restored backend gets a growing share, because its caches are cold and it has no connections yet."""

from collections.abc import Callable, Sequence
from typing import Final

from gproxy.upstream.backend import Backend

#: The initial share.
_LEAST: Final = 0.01


class SlowStart:
    """The growing shares of the backends that warm up: the share of the weight, times the elapsed part of the period.

    Each pick gives each of these backends credit for its share; the picked one pays 1. A backend without a full credit
    is no candidate. So slow start works with every policy, and is exact with round robin.
    """

    def __init__(self, period: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        #: The credit of each backend that warms up.
        self.warming: dict[Backend, float] = {}
        self._period = period
        #: The total weight of the other candidates.
        self._steady = 0

    def set_candidates(self, backends: Sequence[Backend], now: float) -> float | None:
        """Set the candidates. Return when the first of them has warmed up; None if none warms up."""
        self.warming = {
            backend: self.warming.get(backend, 0.0) for backend in backends if now < backend.returned_at + self._period
        }
        self._steady = sum(backend.weight for backend in backends if backend not in self.warming)
        return min((backend.returned_at + self._period for backend in self.warming), default=None)

    def credit(self) -> None:
        """Credit each backend that warms up with its share of one pick."""
        now = self._clock()
        weights = {backend: backend.weight * self._share(backend, now) for backend in self.warming}
        total = sum(weights.values(), float(self._steady))
        for backend, weight in weights.items():
            self.warming[backend] = min(2.0, self.warming[backend] + weight / total)

    def admits(self, backend: Backend) -> bool:
        """Return whether the backend may be picked."""
        return self.warming.get(backend, 1.0) > 1 - 1e-9

    def admitted(self, backends: Sequence[Backend]) -> Sequence[Backend]:
        """Return the backends that may be picked; if there are none, the one with most credit."""
        found = [backend for backend in backends if self.admits(backend)]
        return found or sorted(backends, key=self.warming.__getitem__)[-1:]

    def charge(self, backend: Backend) -> None:
        """Charge a backend for a pick."""
        if backend in self.warming:
            self.warming[backend] -= 1

    def _share(self, backend: Backend, now: float) -> float:
        return min(1.0, max(_LEAST, (now - backend.returned_at) / self._period))
