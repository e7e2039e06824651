"""The runtime that the gateway's parts use: clocks, random, threads, metrics and state of their process."""

import logging
import math
import os
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeAlias, TypeVar

import gevent

from gproxy.config.sections.metrics import MetricsSettings
from gproxy.config.sections.outgoing import OutgoingSettings
from gproxy.config.sections.settings import Settings
from gproxy.config.sections.state import StateSettings
from gproxy.http.buffers import Buffers
from gproxy.http.deadline import Deadline
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.observe.local_time import local
from gproxy.observe.metrics import Metrics
from gproxy.observe.throttle import Throttle
from gproxy.observe.user_metrics import LabelSets, UserCounter, UserGauge, UserHistogram, declare
from gproxy.runtime.client_watch import served_watch
from gproxy.runtime.feed import Feed
from gproxy.runtime.lent_account import lend
from gproxy.runtime.lent_call import run_lent
from gproxy.runtime.live_rules import LiveRule
from gproxy.runtime.process_figures import ProcessFigures
from gproxy.runtime.upstreams import UpstreamCalls
from gproxy.state.cached import use_block, use_watch
from gproxy.state.concurrency import ConcurrentRequests
from gproxy.state.rate_limit.handover import HandoverLimiter
from gproxy.state.rate_limit.limiter import Limiter
from gproxy.state.rate_limit.shared_limiter import SLIDING_WINDOW, Algorithm
from gproxy.state.shared.memory import SharedState
from gproxy.state.store import Store, create_store

if TYPE_CHECKING:
    from gproxy.runtime.tables import Tables
    from gproxy.state.lock import Lock
    from gproxy.state.table import Table

T = TypeVar("T")

use_watch(served_watch)
use_block(lend)

#: A function that returns a block which ends silently after so many seconds.
Bounded: TypeAlias = Callable[[float], AbstractContextManager[object]]


def silent_timeout(seconds: float) -> AbstractContextManager[object]:
    """Return a block that ends silently after so many seconds."""
    timeout: AbstractContextManager[object] = gevent.Timeout(seconds, False)
    return timeout


class Runtime:
    """The clocks, random, log, threads and state of a process. It exists before all other parts and opens nothing.

    clock: seconds since the epoch. monotonic: seconds that never jump. log: the error log.
    sleep: waits so many seconds. bounded: returns a block that ends silently after so many seconds.
    state_dir: directory for state that survives restarts. state: settings of the store that several machines share.
    outgoing: settings of requests of the gateway itself.
    metrics: settings of the metrics.
    buffers: bound of the bytes that are kept for slow clients.
    generation: number of the reading of the settings, from 1.
    worker: number of this worker within its generation, from 1.
    instance: id of the gateway in Via, the same for all its workers; empty: a new one.
    id_header: name of the header of requests' ids; empty: in no header.
    """

    #: The memory of the machine's workers, which outlives each of them; None outside of a worker.
    host_state: SharedState | None = None
    #: Seconds of a call to an upstream that serves no request: `[gateway] timeout`.
    call_timeout: float = 3.0
    #: Makes the deadline of such a call; the test kit has its own.
    new_deadline: Callable[[], Deadline] = Deadline
    #: The most threads of apps with `offload = yes`: `[server] threads`. Those of `offload` are others.
    app_threads: int = 10
    #: Returns the requests so far, those that failed in handlers, and the last failure; with `probation`.
    handler_errors: Callable[[], tuple[int, int, str]] = staticmethod(lambda: (0, 0, ""))
    #: True in the process of a self-test: what requests count stays in this process.
    is_selftest: bool = False
    #: Returns a Unix time with the offset of the zone in which the process has started.
    local_time: Callable[[float], datetime] = staticmethod(local)
    #: Monotonic time at which what runs beside the requests is cut: that of a stop, plus `grace`.
    grace_ends: float = math.inf

    # What /health reports.
    #: Returns each upstream's backends with their state, by upstream name.
    backends: Callable[[], dict[str, list[dict[str, Any]]]] = dict
    #: Returns the state of each upstream's limit and breaker, by name, if it has one.
    admission: Callable[[], dict[str, dict[str, Any]]] = dict
    #: Returns the state of each key set, with its name.
    keys: Callable[[], list[dict[str, Any]]] = list
    #: Returns the state of each handler that fails or is skipped, by name.
    handlers: Callable[[], dict[str, dict[str, Any]]] = dict
    #: Why the last reload has failed; empty if it has not.
    reload_failure: str = ""

    def __init__(
        self,
        *,
        state_dir: Path = Path("var"),
        state: StateSettings | None = None,
        outgoing: OutgoingSettings | None = None,
        metrics: MetricsSettings | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = gevent.sleep,
        bounded: Bounded = silent_timeout,
        rng: random.Random | None = None,
        buffers: int = 64 * 1024 * 1024,
        generation: int = 1,
        worker: int = 1,
        instance: str = "",
        id_header: str = "X-Request-ID",
    ) -> None:
        self.state_dir = state_dir
        self.outgoing = outgoing or OutgoingSettings()
        self.clock, self.monotonic, self.sleep, self.bounded = clock, monotonic, sleep, bounded
        self.buffers = Buffers(buffers)
        self.random = rng or random.Random()  # noqa: S311 balancing and jitter, no secret
        self.log = logging.getLogger("gproxy")
        #: Warnings that repeat while something fails.
        self.throttle = Throttle(self.log, monotonic)
        self.generation, self.worker, self.started = generation, worker, monotonic()
        self.instance, self.id_header = instance or os.urandom(4).hex(), id_header
        #: True if attempts at backends are timed, for the field `apptime` of access lines.
        self.times_attempts = False
        #: The records for the monitor; None without one.
        self.feed: Feed | None = None
        #: True once a stop has begun: /ready returns 503.
        self.stopping = False
        #: True once this process drains, for a stop or a reload: connections close after their response.
        self.draining = False
        #: Memory, descriptors and greenlets of this process.
        self.process = ProcessFigures(monotonic)
        #: The calls to each upstream by its name, for `ask` and `upstream`; tests may enter their own.
        self.upstreams: dict[str, Next] = {}
        #: The metrics of this process, counted if a handler exposes them, or a monitor shows them.
        self.metrics = Metrics(metrics)
        #: The memory shared with other workers; None while this process serves alone.
        self.shared: SharedState | None = None
        #: The parts that exist once in this process, by their class; `single` makes them.
        self.singles: dict[Callable[[Runtime], Any], Any] = {}
        self._sharing: list[Shares] = []
        #: The store that several machines share, if there is one.
        self.store = create_store(state, monotonic) if state else None
        if self.store is not None:
            self._measure(self.store)

    @classmethod
    def of(cls, settings: Settings, generation: int = 1, worker: int = 1, instance: str = "") -> Self:
        """Return the runtime of a process with these settings."""
        server = settings.server
        made = cls(
            state_dir=server.state_dir,
            state=settings.state,
            outgoing=settings.outgoing,
            metrics=settings.metrics,
            buffers=server.buffers,
            generation=generation,
            worker=worker,
            instance=instance,
            id_header=settings.gateway.id_header,
        )
        made.app_threads = server.threads
        made.times_attempts = "apptime" in settings.log.field_names
        made.feed = Feed() if settings.has_monitor else None
        return made

    def _measure(self, store: Store) -> None:
        self.metrics.watch("gproxy_store_round_trips_total", (), lambda: store.trips)
        self.metrics.watch("gproxy_store_failures_total", (), lambda: store.failures)
        self.metrics.watch("gproxy_store_seconds_total", (), lambda: store.seconds)
        self.metrics.watch("gproxy_store_up", (), lambda: store.is_up)

    def set_apart(self) -> None:
        """Let what requests count stay in this process, which runs a self-test."""
        self.is_selftest = True
        self.feed = None

    def start_metrics(self) -> None:
        """Begin to count, for a handler that exposes the metrics, or for the monitor."""
        metrics = self.metrics
        if metrics.wanted:
            return
        metrics.start()
        metrics.watch("gproxy_buffer_bytes", (), lambda: self.buffers.used)
        self.process.watch(metrics)
        if (feed := self.feed) is not None:
            metrics.watch("gproxy_feed_dropped_total", (), lambda: feed.dropped)
        if self.host_state is not None and feed is not None:
            metrics.share_with_monitor(self.host_state)
        else:
            self.join(metrics)

    def counter(self, name: str, labels: Sequence[str], doc: str) -> UserCounter:
        """Declare a counter of a handler, in `open`: `add(amount, *label_values)`. Raises ValueError for a bad name."""
        declare(self.metrics, "counter", name, labels, doc)
        return UserCounter(LabelSets(self.metrics, name, labels))

    def gauge(self, name: str, labels: Sequence[str], doc: str) -> UserGauge:
        """Declare a gauge of a handler, in `open`: `set(value, *label_values)`. Raises ValueError for a bad name."""
        declare(self.metrics, "gauge", name, labels, doc)
        return UserGauge(self.metrics, name, labels)

    def histogram(self, name: str, labels: Sequence[str], doc: str, buckets: Sequence[float] = ()) -> UserHistogram:
        """Declare a histogram of a handler, in `open`: `observe(value, *label_values)`.

        Without `buckets` the values are seconds, in those of `[metrics]`. Raises ValueError for a bad name.
        """
        declare(self.metrics, "histogram", name, labels, doc, buckets)
        return UserHistogram(LabelSets(self.metrics, name, labels))

    def join(self, part: "Shares") -> None:
        """Register a part, whose `share` and `unshare` run when other processes begin to serve and have ended."""
        self._sharing.append(part)
        if self.shared is not None:
            part.share(self.shared)

    def share(self, state: SharedState) -> None:
        """Move common state into the shared memory, before another process serves beside this one."""
        self.shared = state
        for part in self._sharing:
            part.share(state)

    def unshare(self) -> None:
        """Move common state back into this process, where it is cheaper, after the others have ended."""
        state, self.shared = self.shared, None
        if state is not None:
            for part in self._sharing:
                part.unshare(state)

    def single(self, cls: Callable[["Runtime"], T]) -> T:
        """Return the one object of this class in the process; the first call makes it from this runtime.

        The gateway opens the object after all handlers, if it has `open`, and closes it after them, if it has `close`.
        """
        made: T | None = self.singles.get(cls)
        if made is None:
            made = self.singles[cls] = cls(self)
        return made

    def limiter(self, name: str, max_keys: int, algorithm: Algorithm = SLIDING_WINDOW) -> Limiter:
        """Return the limiter of that name, which counts for all workers, or for all machines with a store."""
        limiter = HandoverLimiter(name, max_keys, self.monotonic, algorithm)
        self.join(limiter)
        self.metrics.watch("gproxy_rate_limit_evictions_total", (name,), lambda: limiter.evicted)
        if self.store is None or self.is_selftest:
            return limiter
        return self.store.limiter(name, max_keys, limiter, algorithm)

    def concurrency(self, name: str, max_keys: int) -> ConcurrentRequests:
        """Return the counts of requests under way of that name, over all workers."""
        requests = ConcurrentRequests(name, max_keys)
        self.join(requests)
        return requests

    @cached_property
    def live_rules(self) -> list[LiveRule]:
        """The rules of operators by which requests are watched, which come and go."""
        return []

    def ask(self, upstream: str, request: Request) -> Response:
        """Return the response of the upstream of this name to a `subrequest`, or to the client's request itself.

        A failure is a response too: 502, 503 or 504. The connection is free once the body is read or the block of the
        subrequest ends. Raises LookupError for an unknown upstream, Expired at the deadline while the call waits for
        its turn, and ClientGone if the client leaves.
        """
        return self.upstreams[upstream](request)

    def upstream(self, name: str) -> UpstreamCalls:
        """Return the upstream of this name, for requests of a handler or a job. Raises LookupError without one."""
        if name not in self.upstreams:
            raise LookupError(f"no upstream {name!r}; known are: {', '.join(sorted(self.upstreams)) or 'none'}")
        return UpstreamCalls(name, self.upstreams, self.call_timeout, self.new_deadline)

    def begin_stop(self, grace: float = math.inf) -> None:
        """Note that a stop has begun: what runs beside the requests is cut after so many seconds."""
        self.stopping = True
        self.grace_ends = self.monotonic() + grace

    def spawn(self, function: Callable[..., object], *args: object) -> gevent.Greenlet:
        """Run the function in a new greenlet, and return the greenlet."""
        return gevent.spawn(function, *args)

    def table(self, name: str, max_keys: int, ttl: str | float, scope: Literal["host", "redis"] = "host") -> "Table":
        """Return the table of this name: small values by key, common to all workers, or with a store to all machines.

        At most `max_keys` entries live for `ttl` each; a full table drops the oldest. Call it in `open`, or in a job.
        Raises ValueError for a bad argument, and for others than those of the first call.
        """
        return self._tables.table(name, max_keys, ttl, scope)

    def lock(self, name: str, ttl: str | float) -> "Lock":
        """Return the lock of this name, for a `with`; all workers share it, and it frees itself after `ttl`.

        A wait for it ends with the request that the greenlet serves.
        """
        return self._tables.lock(name, ttl)

    @cached_property
    def redis(self) -> Any:  # noqa: ANN401 redis-py is an extra
        """A client of redis-py for the Redis of `[state]`. Raises LookupError without one.

        A command ends at the deadline of the request that the greenlet serves, and after `[gateway] timeout` at last.
        """
        return self._tables.redis()

    @cached_property
    def _tables(self) -> "Tables":
        from gproxy.runtime.tables import Tables  # late: few gateways have tables or locks

        return self.single(Tables)

    def aio(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of asyncio on the loop of this process, and return its result.

        It is cancelled at the deadline of the request that the greenlet serves, and when the client leaves; that raises
        Expired and ClientGone. The coroutine runs in another thread, where nothing of the runtime may be used.
        """
        from gproxy.runtime.aio import AsyncioLoop  # late: few handlers need asyncio

        return self.single(AsyncioLoop).run(coroutine)

    def offload(self, function: Callable[..., T], *args: object) -> T:
        """Run a blocking function in a thread and return its result; other greenlets run meanwhile."""
        return run_lent(gevent.get_hub(), function, args)


class Shares(Protocol):
    """A part whose state several processes can share; both methods run while the part serves."""

    def share(self, state: SharedState, /) -> None: ...
    def unshare(self, state: SharedState, /) -> None: ...


class Opens(Protocol):
    """The optional life cycle of a handler: `open` runs in the worker before serving, `close` after draining."""

    def open(self, runtime: Runtime) -> None: ...
    def close(self) -> None: ...
