"""Who is quick, and who is quick to get slow (peak EWMA, as in Finagle and Linkerd)."""

from collections.abc import Callable, Sequence
from math import exp
from time import monotonic
from typing import Any, Final

from gproxy.config.types import BackendURL
from gproxy.http.request import Request
from gproxy.runtime import Runtime
from gproxy.upstream.backend import Backend
from gproxy.upstream.balance.draws import Draw, Lottery

#: The cost in seconds of a backend that has not answered yet, but was asked: one request finds out, not a hundred.
_UNKNOWN: Final = 1e6


class TimedBackend(Backend):
    """Knows how long it takes until a response's head is there.

    A slower answer counts at once, quicker ones little by little: the average is what is left of the old one after
    `decay` seconds each. Without answers it fades, so that who was slow is asked again some time.
    """

    def __init__(self, url: BackendURL, **options: Any) -> None:
        super().__init__(url, **options)
        self.average = 0.0
        self.measured_at = 0.0
        self.decay = 10.0
        self.clock: Callable[[], float] = monotonic
        self.observer = self.observe

    def cost(self, now: float) -> float:
        """What one more request would have to wait, in seconds; for its weight."""
        if not self.average:
            return _UNKNOWN + self.active if self.active else 0.0
        return self.average * exp((self.measured_at - now) / self.decay) * (self.active + 1) / self.weight

    def observe(self, seconds: float, answered: bool = True) -> None:
        """It took so long; a failure is no sign of being quick."""
        now = self.clock()
        faded = exp((self.measured_at - now) / self.decay)
        if seconds > self.average * faded:
            self.average = seconds
        elif answered:
            self.average = self.average * faded + seconds * (1 - faded)
        else:
            return
        self.measured_at = now


class Latency(Draw):
    """Of two drawn the one that costs less: its average time to answer, times who waits there, for its weight."""

    backend_class = TimedBackend

    def __init__(self, decay: float) -> None:
        super().__init__()
        self._decay = decay
        self._now: Callable[[], float] = monotonic

    def use(self, runtime: Runtime) -> None:
        super().use(runtime)
        self._now = runtime.monotonic

    def expect(self, backends: Sequence[Backend]) -> None:
        super().expect(backends)
        for backend in backends:
            assert isinstance(backend, TimedBackend)  # noqa: S101 `backend_class` says so
            backend.decay = self._decay
            backend.clock = self._now

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend:  # noqa: ARG002
        if len(backends) == 1:
            return backends[0]
        lottery = self._lottery if backends is self._backends else Lottery(backends)
        one, other = lottery.two(self._random)
        now = self._now()
        return other if other.cost(now) < one.cost(now) else one  # type: ignore[attr-defined]
