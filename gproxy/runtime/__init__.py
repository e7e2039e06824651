"""What a live part may use of the process it lives in."""

import gc
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import gevent
import psutil
from greenlet import greenlet

from gproxy.config.sections.state import StateSettings
from gproxy.observe.metrics import Metrics
from gproxy.state.rate_limit.handover import HandoverLimiter
from gproxy.state.rate_limit.limiter import Limiter
from gproxy.state.shared.memory import SharedState

if TYPE_CHECKING:
    from gproxy.state.redis.store import RedisStore

T = TypeVar("T")


class Runtime:
    """Clock, random, log, threads and the process's own state; handed to `open`, and replaced in tests.

    clock: seconds since the epoch. monotonic: seconds that never jump. log: the error log.
    state_dir: where what must outlive a restart is kept. state: where what several machines have in common is.
    """

    def __init__(
        self,
        *,
        state_dir: Path = Path("var"),
        state: StateSettings | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self.state_dir = state_dir
        self.clock = clock
        self.monotonic = monotonic
        self.random = rng or random.Random()  # noqa: S311 balancing and jitter, no secret
        self.log = logging.getLogger("gproxy")
        self.started = monotonic()
        #: Which of the workers it is, from 1 on; a new generation counts from 1 again.
        self.worker = 1
        #: True once a stop has begun: /ready says 503.
        self.stopping = False
        #: True once this process finishes, for a stop or a newer generation: connections close after their answer.
        self.draining = False
        #: Greenlets that were there before the collector was told to forget what is there; for /health.
        self.resident_greenlets = 0
        #: Greenlets whose connection has ended, waiting for another one; they do not count.
        self.parked: list[greenlet] = []
        #: Each upstream's backends with their state, by upstream name; for /health.
        self.backends: Callable[[], dict[str, list[dict[str, Any]]]] = dict
        #: The state of each upstream's limit and breaker, by name, if it has one; for /health.
        self.admission: Callable[[], dict[str, dict[str, Any]]] = dict
        #: What is counted, if somebody wants to read it.
        self.metrics = Metrics()
        #: What this process has in common with others; None while it serves alone.
        self.shared: SharedState | None = None
        self._sharing: list[Shares] = []
        self._resident = 0
        #: What all machines have in common, if there is something.
        self.store = self._store(state)

    def _store(self, settings: StateSettings | None) -> "RedisStore | None":
        if settings is None or settings.redis is None:
            return None
        from gproxy.state.redis.store import RedisStore  # the package is an extra

        store = RedisStore(settings.redis, settings, self.monotonic)
        self.metrics.watch("gproxy_store_round_trips_total", (), lambda: store.trips)
        self.metrics.watch("gproxy_store_failures_total", (), lambda: store.failures)
        self.metrics.watch("gproxy_store_seconds_total", (), lambda: store.seconds)
        self.metrics.watch("gproxy_store_up", (), lambda: store.is_up)
        return store

    def join(self, part: "Shares") -> None:
        """Have the part told when other processes begin to serve beside this one, and when they have ended."""
        self._sharing.append(part)
        if self.shared is not None:
            part.share(self.shared)

    def share(self, state: SharedState) -> None:
        """Another process is about to serve too: what must be common moves into the shared memory."""
        self.shared = state
        for part in self._sharing:
            part.share(state)

    def unshare(self) -> None:
        """The others have ended: what was common comes back to where it is cheaper."""
        state, self.shared = self.shared, None
        if state is not None:
            for part in self._sharing:
                part.unshare(state)

    def limiter(self, name: str, max_keys: int) -> Limiter:
        """Counts for all processes that serve beside this one, or for all machines; found again by its name."""
        limiter = HandoverLimiter(name, max_keys, self.monotonic)
        self.join(limiter)
        self.metrics.watch("gproxy_rate_limit_evictions_total", (name,), lambda: limiter.evicted)
        return self.store.limiter(name, max_keys, limiter) if self.store else limiter

    def count_greenlets(self) -> int:
        """Those alive. Walks through all that the collector knows, which takes milliseconds.

        By type and not isinstance, which would ask weak proxies for a class that they no longer have.
        """
        known = sum(1 for thing in gc.get_objects() if issubclass(type(thing), greenlet) and not thing.dead)
        return self.resident_greenlets + known - len(self.parked)

    @cached_property
    def _process(self) -> psutil.Process:
        return psutil.Process()

    def memory(self) -> int:
        """The resident set in bytes; what it was before while there are no descriptors left to find out with."""
        with suppress(OSError):
            self._resident = self._process.memory_info().rss
        return self._resident

    def spawn(self, function: Callable[..., object], *args: object) -> gevent.Greenlet:
        """Run it in a greenlet of its own."""
        return gevent.spawn(function, *args)

    def offload(self, function: Callable[..., T], *args: object) -> T:
        """Run it in a thread, and wait without holding up the others: for what would block the loop."""
        result: T = gevent.get_hub().threadpool.apply(function, args)
        return result


class Shares(Protocol):
    """A part whose state can be common to several processes; both calls happen in the middle of serving."""

    def share(self, state: SharedState, /) -> None: ...
    def unshare(self, state: SharedState, /) -> None: ...


class Opens(Protocol):
    """The optional life cycle of a handler: opened in the worker before serving, closed after draining."""

    def open(self, runtime: Runtime) -> None: ...
    def close(self) -> None: ...
