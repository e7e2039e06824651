"""The policy `latency`: the backend with the lower peak EWMA of latencies, as in Finagle and Linkerd."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import exp
from time import monotonic
from typing import Final

from gproxy.config.ini.build import option
from gproxy.config.problems import OptionErrors
from gproxy.config.types import Seconds
from gproxy.http.request import Request
from gproxy.runtime import Runtime
from gproxy.upstream.backend import Backend
from gproxy.upstream.balance.random import Draw, Lottery

#: The cost in seconds of a backend with an active first request: one request measures a new backend, not a hundred.
_UNKNOWN: Final = 1e6


class Timing:
    """The average time of one backend until the response head.

    A slower response replaces the average at once; quicker ones lower it with the time constant `decay`. Without
    responses the average decays, so that a slow backend gets requests again.
    """

    __slots__ = ("_backend", "_decay", "average", "clock", "measured_at")

    def __init__(self, backend: Backend, decay: float, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._decay = decay
        self.clock = clock
        self.average = 0.0
        self.measured_at = 0.0

    def cost(self, now: float) -> float:
        """Return the expected wait of one more request in seconds, divided by the weight."""
        active = self._backend.active
        if not self.average:
            return _UNKNOWN + active if active else 0.0
        return self.average * exp((self.measured_at - now) / self._decay) * (active + 1) / self._backend.weight

    def observe(self, seconds: float, answered: bool = True) -> None:
        """Add a duration of an exchange. A failed one can only raise the average: a quick failure is no low latency."""
        now = self.clock()
        faded = exp((self.measured_at - now) / self._decay)
        if seconds > self.average * faded:
            self.average = seconds
        elif answered:
            self.average = self.average * faded + seconds * (1 - faded)
        else:
            return
        self.measured_at = now


@dataclass(eq=False, repr=False)
class Latency(Draw):
    """A policy that draws two backends and picks the cheaper: average latency, times active attempts, by weight."""

    decay: Seconds = field(
        default=Seconds(10), metadata=option("latency_decay", "balance = latency: time constant of the average")
    )

    def __post_init__(self) -> None:
        if self.decay <= 0:
            raise OptionErrors([(("decay",), "must be more than 0")])
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
        """Return the backend's timing; the first call begins to observe the backend."""
        timing = backend.memo
        if not isinstance(timing, Timing):
            timing = backend.memo = Timing(backend, self.decay, self._now)
            backend.observe_with(timing.observe)
        return timing
