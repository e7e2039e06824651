"""The tables and locks of handlers and jobs, by their names, as one process sees them."""

import re
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple, Protocol

from gproxy.config.types.units import parse_seconds
from gproxy.observe.metrics import Metrics
from gproxy.observe.throttle import Throttle
from gproxy.runtime.client_watch import ClientWatch
from gproxy.runtime.served import served_request
from gproxy.state.lock import Lock, Locks
from gproxy.state.shared.memory import SharedState
from gproxy.state.shared.table import SharedEntries
from gproxy.state.store import Store
from gproxy.state.table import Entries, LocalEntries, MemoryEntries, Table

Scope = Literal["host", "redis"]

#: The most entries of a table on one machine: a repair reads the ages of all.
MOST_KEYS: Final = 100_000
#: The most tables, because the names may come from code that makes them up.
_MOST_TABLES: Final = 100
#: The most locks that are held at a time.
_MOST_LOCKS: Final = 20_000
#: The longest time that an entry lives, or a lock is held: a hundred years.
_LONGEST: Final = 100 * 365 * 86_400.0
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Process(Protocol):
    """The parts of the runtime that tables use."""

    host_state: SharedState | None
    store: Store | None
    metrics: Metrics
    is_selftest: bool
    call_timeout: float
    monotonic: Callable[[], float]
    sleep: Callable[[float], object]
    throttle: Throttle


class Shape(NamedTuple):
    """The arguments with which a table was made."""

    max_keys: int
    ttl: float
    scope: Scope


class Tables:
    """All tables and locks of a process; `runtime.single(Tables)` returns them."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._tables: dict[str, tuple[Table, Shape]] = {}
        self._clients: list[Any] = []

    def table(self, name: str, max_keys: int, ttl: str | float, scope: Scope = "host") -> Table:
        """Return the table of this name. Raises ValueError for arguments that it cannot have."""
        shape = Shape(max_keys, seconds(ttl), scope)
        if name not in self._tables:
            self._tables[name] = Table(name, self._entries(name, shape), shape.ttl), shape
        table, made = self._tables[name]
        if made != shape:
            raise ValueError(f"table {name!r} has {_written(made)}; expected the same, not {_written(shape)}")
        return table

    def _entries(self, name: str, shape: Shape) -> Entries:
        problem = _problem(name, shape)
        if not problem and len(self._tables) >= _MOST_TABLES:
            problem = f"there are {_MOST_TABLES} tables already; expected a fixed name, and keys for what varies"
        if problem:
            raise ValueError(f"table {name!r}: {problem}")
        entries = self._remote(name, shape) if shape.scope == "redis" else self._local(name, shape.max_keys)
        self._process.metrics.watch("gproxy_table_evictions_total", (name,), lambda: entries.evicted)
        return entries

    def _remote(self, name: str, shape: Shape) -> Entries:
        if self._process.store is None:
            raise ValueError(f'table {name!r}: scope "redis" needs the option redis in [state]')
        if self._process.is_selftest:  # which changes nothing that others see
            return MemoryEntries(shape.max_keys, self._process.monotonic)
        return self._process.store.table(name, shape.max_keys)

    def _local(self, name: str, max_keys: int) -> LocalEntries:
        state, clock = self._process.host_state, self._process.monotonic
        if state is None:
            return MemoryEntries(max_keys, clock)
        entries = SharedEntries.open(state, name, max_keys, clock, self._process.sleep)
        if entries is None:
            raise ValueError(f"table {name!r}: no room in the memory of the workers; expected a smaller max_keys")
        return entries

    @cached_property
    def _locks(self) -> Locks:
        entries = self._local("gproxy locks", _MOST_LOCKS)
        return Locks(entries, self._process.host_state, self._pause, self._report_full)

    def _report_full(self) -> None:
        """Log that a lock was freed while it was held."""
        self._process.throttle.warn(
            "locks", "locks: more than %d are held at a time, so the oldest was freed before its end", _MOST_LOCKS
        )

    def lock(self, name: str, ttl: str | float) -> Lock:
        """Return the lock of this name, which each `with` takes for `ttl` at most. Raises ValueError for a bad one."""
        life = seconds(ttl)
        if problem := _problem_of_time(life):
            raise ValueError(f"lock {name!r}: {problem}")
        return Lock(name, self._locks, life)

    def _pause(self, pause: float) -> None:
        """Wait; a request that waits ends at its deadline, and when its client leaves."""
        request = served_request()
        if request is None:
            self._process.sleep(pause)
        else:
            ClientWatch.of(request).wait(pause)

    def redis(self) -> Any:  # noqa: ANN401 redis-py is an extra
        """Return a new client of redis-py for the Redis of `[state]`. Raises LookupError without one."""
        if self._process.store is None:
            raise LookupError("runtime.redis needs the option redis in [state]")
        made = self._process.store.client(self._process.call_timeout)
        self._clients.append(made)
        return made

    def close(self) -> None:
        """Close the clients of Redis."""
        for client in self._clients:
            client.close()


def _problem(name: str, shape: Shape) -> str:
    """Return why a table cannot have this name and shape; empty if it can."""
    if not _NAME.fullmatch(name):
        return "expected a name of up to 64 of A-Z, a-z, 0-9, dot, dash, underscore"
    if not 1 <= shape.max_keys <= MOST_KEYS:
        return f"max_keys is {shape.max_keys}; expected 1 to {MOST_KEYS}"
    if problem := _problem_of_time(shape.ttl):
        return problem
    return "" if shape.scope in ("host", "redis") else f'scope is {shape.scope!r}; expected "host" or "redis"'


def _problem_of_time(ttl: float) -> str:
    return "" if 0 < ttl <= _LONGEST else f"ttl is {ttl:g}; expected more than 0 seconds, and at most 100 years"


def _written(shape: Shape) -> str:
    return f'max_keys={shape.max_keys}, ttl={shape.ttl:g}, scope="{shape.scope}"'


def seconds(value: str | float) -> float:
    """Return a time in seconds, which may be a text such as `30s`. Raises ValueError for another text."""
    try:
        return parse_seconds(value) if isinstance(value, str) else float(value)
    except ValueError:
        raise ValueError(f"{value!r} is no time; expected seconds, or a text such as 30s") from None
