"""The store that several machines share: what the gateway needs of one, and which module has it."""

import time
from collections.abc import Callable
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Final, Protocol

from gproxy.config.sections.state import StateSettings
from gproxy.state.rate_limit.limiter import Limiter
from gproxy.state.rate_limit.shared_limiter import SLIDING_WINDOW, Algorithm

if TYPE_CHECKING:
    from gproxy.state.table import Entries

#: URL scheme → class of the store. Its module is imported only for such a URL, because its package is an extra.
STORES: Final[dict[str, str]] = {
    "redis": "gproxy.state.redis.store:RedisStore",
    "rediss": "gproxy.state.redis.store:RedisStore",
    "unix": "gproxy.state.redis.store:RedisStore",
}


class StoreUnavailableError(Exception):
    """A store, or a table of the workers, that cannot be used now, and that nothing else may stand in for."""

    #: The delay before a retry, in seconds.
    retry_after: Final = 1


class Store(Protocol):
    """A store of counts, as seen by this process.

    It connects when a limiter is first used. trips, failures, seconds: number of round trips, of failed ones, and their
    total duration, since the start of the process.
    """

    trips: int
    failures: int
    seconds: float

    @property
    def is_up(self) -> bool:
        """True unless the store counts as unavailable."""

    def limiter(self, name: str, max_keys: int, fallback: Limiter, algorithm: Algorithm = SLIDING_WINDOW) -> Limiter:
        """Return a limiter for all machines; `fallback` counts for this one while the store is unavailable."""

    def table(self, name: str, max_keys: int) -> "Entries":
        """Return the entries of a table for all machines, whose methods raise StoreUnavailableError without the store.

        While it fails, no other place stands in: the values there would be others.
        """

    def client(self, longest: float) -> Any:  # noqa: ANN401 its package is an extra
        """Return a client of the store for users' own commands. Each wait ends after so many seconds."""

    def snapshot(self) -> dict[str, Any]:
        """Return the state for /health."""

    def describe(self) -> str:
        """Return the kind of the store and its address, without secrets: `redis 10.0.0.1:6379`."""

    def close(self) -> None:
        """Stop all work in the background, and close the connections."""


def create_store(settings: StateSettings, clock: Callable[[], float] = time.monotonic) -> Store | None:
    """Return the store of the settings, not yet connected; None without one."""
    url = settings.redis
    if url is None:
        return None
    store: Store = resolve_name(STORES[url.scheme])(url, settings, clock)
    return store
