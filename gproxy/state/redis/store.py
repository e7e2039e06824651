"""Redis (or Valkey) as what several machines have in common: whether it can be had, and the limiter that counts there.

After some failures in a row it is taken for lost. From then on nobody waits for it: what asks it fails at once, and a
greenlet of its own tries every second whether it is back.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Final

import gevent

from gproxy.config.sections.state import RedisURL, StateSettings
from gproxy.config.types import Rate
from gproxy.state.errors import StoreUnavailableError
from gproxy.state.rate_limit.lease import LeasingLimiter
from gproxy.state.rate_limit.limiter import STEPS, Limiter, Verdict
from gproxy.state.redis.connections import Connections, StoreError
from gproxy.state.redis.script import LIMIT, Script

#: Failures in a row after which it is lost.
_PATIENCE: Final = 3
#: How often it is looked for then, in seconds.
_PAUSE: Final = 1.0
_SECOND: Final = 1_000_000

_log = logging.getLogger("gproxy")


class RedisStore:
    """One Redis, as this process sees it. `trips`, `failures` and `seconds` count since it began."""

    def __init__(self, url: RedisURL, settings: StateSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self._where = url.where
        self._connections = Connections(url, settings)
        self._clock = clock
        self._prefix = settings.prefix.encode()
        self._in_a_row = 0
        self._lost_at: float | None = None
        self._search: gevent.Greenlet | None = None
        self.trips = 0
        self.failures = 0
        self.seconds = 0.0

    @property
    def is_up(self) -> bool:
        return self._lost_at is None

    def snapshot(self) -> dict[str, Any]:
        """For /health."""
        return {"kind": "redis", "state": "up" if self.is_up else "failing", "failures": self.failures}

    def limiter(self, name: str, max_keys: int, local: Limiter) -> Limiter:
        """Counts for all machines; `local` goes on while Redis is lost, unless that is to be refused."""
        if self._search is None:  # now somebody cares: find out before a request does
            self._search = gevent.spawn(self._look_for_it)
        instead = local if self.settings.on_failure == "open" else _Refusing()
        limiter = RedisLimiter(self, f"limit:{name}", instead)
        lease = self.settings.lease
        return LeasingLimiter(limiter, lease, max_keys, self._clock) if lease > 1 else limiter

    def evaluate(self, script: Script, key: bytes, *arguments: int) -> Any:
        """Run the script in one round trip. Raises StoreError, at once while Redis is lost."""
        if self._lost_at is not None:
            raise StoreError("it is lost")
        return self._ask(script, key, *arguments)

    def _ask(self, script: Script, key: bytes, *arguments: int) -> Any:
        began = self._clock()
        self.trips += 1
        try:
            answer = self._connections.evaluate(script, self._prefix + key, *arguments)
        except StoreError as error:
            self.failures += 1
            self._in_a_row += 1
            if self._in_a_row >= _PATIENCE and self._lost_at is None:
                self._lose(error)
            raise
        finally:
            self.seconds += self._clock() - began
        self._in_a_row = 0
        return answer

    def _lose(self, error: StoreError) -> None:
        self._lost_at = self._clock()
        _log.error("redis %s is lost: %s; %s until it is back", self._where, error, self.settings.meanwhile)
        if not self._search:
            self._search = gevent.spawn_later(_PAUSE, self._look_for_it)

    def _look_for_it(self) -> None:
        """Ask for what requests ask, for a Redis may answer and yet take no writes."""
        while not self._answers():
            gevent.sleep(_PAUSE if self._lost_at is not None else 0)
        if self._lost_at is not None:
            lost_at, self._lost_at = self._lost_at, None
            _log.info("redis %s is back after %.1f s", self._where, self._clock() - lost_at)

    def _answers(self) -> bool:
        try:
            self._ask(LIMIT, b"probe", _SECOND, 1, 1, 0)
        except StoreError:
            return False
        return True

    def close(self) -> None:
        """Look for it no more."""
        if self._search is not None:
            self._search.kill()
        self._connections.close()


class RedisLimiter:
    """The limiter of several machines: each admits as if it had seen every request of the others."""

    def __init__(self, store: RedisStore, name: str, instead: Limiter) -> None:
        self._store = store
        self._name = name
        #: Asked while Redis does not answer.
        self._instead = instead

    def take(self, key: str, rate: Rate, /) -> Verdict:
        """Admit one more request of `key` if the rate allows it, and count it then."""
        return self.grant(key, rate, 1)[1]

    def grant(self, key: str, rate: Rate, wanted: int) -> tuple[int, Verdict]:
        """Count up to `wanted` requests at once; how many, and the verdict on the first.

        More than one permit is only good for a sixtieth of the window.
        """
        window = round(rate.window * _SECOND)
        lease = window // STEPS if wanted > 1 else 0
        place = f"{self._name}:{rate.window:g}:{key}".encode("utf-8", "surrogatepass")
        try:
            granted, remaining, wait, reset = self._store.evaluate(LIMIT, place, window, rate.limit, wanted, lease)
        except StoreError:
            verdict = self._instead.take(key, rate)
            return int(verdict.admitted), verdict
        left = remaining + max(granted - 1, 0)
        return granted, Verdict(granted > 0, left, 0.0 if left else wait / _SECOND, reset / _SECOND)


class _Refusing:
    """Admits nobody and refuses nobody: there is nothing to judge by."""

    def take(self, _key: str, _rate: Rate, /) -> Verdict:
        raise StoreUnavailableError
