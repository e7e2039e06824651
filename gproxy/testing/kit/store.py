"""The store of the test kit: what machines share is in the process of the test, and needs no server."""

from collections.abc import Callable
from typing import Any

from gproxy.state.rate_limit.limiter import Limiter
from gproxy.state.rate_limit.shared_limiter import SLIDING_WINDOW, Algorithm
from gproxy.state.table import Entries, MemoryEntries


class KitStore:
    """A store without a server, which always answers. `clock` tells the ages of its entries."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.trips = self.failures = 0
        self.seconds = 0.0
        self.is_up = True

    def limiter(self, _name: str, _max_keys: int, fallback: Limiter, _algorithm: Algorithm = SLIDING_WINDOW) -> Limiter:
        """Return the limiter of one machine."""
        return fallback

    def table(self, _name: str, max_keys: int) -> Entries:
        """Return the entries of a table in this process."""
        return MemoryEntries(max_keys, self._clock)

    def client(self, _longest: float) -> Any:  # noqa: ANN401 as the protocol has it
        """Raise LookupError: a test brings its own client."""
        raise LookupError("the test kit has no Redis; expected a test to set gateway.runtime.redis")

    def snapshot(self) -> dict[str, Any]:
        """Return the state for /health."""
        return {"kind": "kit", "state": "up", "failures": 0}

    def describe(self) -> str:
        """Return the kind of the store."""
        return "the store of the test kit"

    def close(self) -> None:
        """Do nothing: there are no connections."""
