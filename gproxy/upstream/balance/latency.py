"""Who is quick, and who is quick to get slow (peak EWMA, as in Finagle and Linkerd)."""

from collections.abc import Callable, Sequence
from math import exp
from time import monotonic
from typing import Final

from gproxy.http.request import Request
from gproxy.runtime import Runtime
from gproxy.upstream.backend import Backend
from gproxy.upstream.balance.random import Draw, Lottery

#: The cost in seconds of a backend that has not answered yet, but was asked: one request finds out, not a hundred.
_UNKNOWN: Final = 1e6


class Timing:
    """How long one backend takes until a response's head is there.

    A slower answer counts at once, quicker ones little by little: the average is what is left of the old one after
    `decay` seconds each. Without answers it fades, so that who was slow is asked again some time.
    """

    __slots__ = ("_backend", "_decay", "average", "clock", "measured_at")

    def __init__(self, backend: Backend, decay: float, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._decay = decay
        self.clock = clock
        self.average = 0.0
        self.measured_at = 0.0

    def cost(self, now: float) -> float:
        """What one more request would have to wait, in seconds; for its weight."""
        active = self._backend.active
        if not self.average:
            return _UNKNOWN + active if active else 0.0
        return self.average * exp((self.measured_at - now) / self._decay) * (active + 1) / self._backend.weight

    def observe(self, seconds: float, answered: bool = True) -> None:
        """It took so long; a failure is no sign of being quick."""
        now = self.clock()
        faded = exp((self.measured_at - now) / self._decay)
        if seconds > self.average * faded:
            self.average = seconds
        elif answered:
            self.average = self.average * faded + seconds * (1 - faded)
        else:
            return
        self.measured_at = now


class Latency(Draw):
    """Of two drawn the one that costs less: its average time to answer, times who waits there, for its weight."""

    def __init__(self, decay: float) -> None:
        super().__init__()
        self._decay = decay
        self._now: Callable[[], float] = monotonic

    def use(self, runtime: Runtime) -> None:
        super().use(runtime)
        self._now = runtime.monotonic

    def set_candidates(self, backends: Sequence[Backend]) -> None:
        super().set_candidates(backends)
        for backend in backends:
            self.timing(backend).clock = self._now

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend:  # noqa: ARG002
        if len(backends) == 1:
            return backends[0]
        lottery = self._lottery if backends is self._backends else Lottery(backends)
        one, other = lottery.two(self._random)
        now = self._now()
        return other if self.timing(other).cost(now) < self.timing(one).cost(now) else one

    def timing(self, backend: Backend) -> Timing:
        """The backend's, which is observed from the first time on that somebody asks."""
        timing = backend.memo
        if not isinstance(timing, Timing):
            timing = backend.memo = Timing(backend, self._decay, self._now)
            backend.observe_with(timing.observe)
        return timing
