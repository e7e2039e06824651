"""Redis (or Valkey) as the store that several machines share: its availability, and the limiter that counts in it.

After several failures in a row Redis counts as unavailable. From then on commands fail at once, without a wait, and a
greenlet checks every second whether Redis has returned.
"""

import logging
import time
from collections.abc import Callable
from math import inf
from typing import Any, Final, TypeVar

import gevent

from gproxy.config.sections.state import RedisURL, StateSettings
from gproxy.config.types import Rate
from gproxy.state.rate_limit.bucket import STEPS, Verdict
from gproxy.state.rate_limit.lease import LeasingLimiter
from gproxy.state.rate_limit.limiter import Limiter
from gproxy.state.rate_limit.shared_limiter import SLIDING_WINDOW, TOKEN_BUCKET, Algorithm
from gproxy.state.redis.connections import Connections, ForeignKeyError, Runs, StoreError, Word, client
from gproxy.state.redis.script import LIMIT, TOKENS, Script
from gproxy.state.redis.table import RedisEntries
from gproxy.state.store import StoreUnavailableError

T = TypeVar("T")

#: Failures in a row after which Redis counts as unavailable.
_MAX_FAILURES: Final = 3
#: The interval of checks while Redis is unavailable, in seconds.
_CHECK_INTERVAL: Final = 1.0
_SECOND: Final = 1_000_000
#: Name of an algorithm -> its script.
_SCRIPTS: Final = {SLIDING_WINDOW.name: LIMIT, TOKEN_BUCKET.name: TOKENS}

_log = logging.getLogger("gproxy")


class RedisStore:
    """A Redis, as seen by this process. `trips`, `failures` and `seconds` count from the start of the process."""

    def __init__(self, url: RedisURL, settings: StateSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self._url = url
        self._where = url.where
        self._connections = Connections(url, settings)
        self._clock = clock
        self._prefix = settings.prefix.encode()
        self._in_a_row = 0
        self._down_since: float | None = None
        #: True once a key had another type than the gateway gives it, which is logged once: clients may choose keys.
        self._has_foreign_key = False
        self._checker: gevent.Greenlet | None = None
        self.trips = 0
        self.failures = 0
        self.seconds = 0.0

    @property
    def is_up(self) -> bool:
        return self._down_since is None

    def snapshot(self) -> dict[str, Any]:
        """Return the state for /health."""
        return {"kind": "redis", "state": "up" if self.is_up else "failing", "failures": self.failures}

    def describe(self) -> str:
        """Return `redis` and its address, without secrets."""
        return f"redis {self._where}"

    def limiter(self, name: str, max_keys: int, fallback: Limiter, algorithm: Algorithm = SLIDING_WINDOW) -> Limiter:
        """Return a limiter for all machines. Without Redis, `fallback` counts, or requests are rejected."""
        if self._checker is None:  # first use: detect a failure before a request does
            self._checker = gevent.spawn(self._check)
        if self.settings.on_failure == "closed":
            fallback = _RejectingLimiter()
        script = _SCRIPTS[algorithm.name]
        limiter = RedisLimiter(self, f"{algorithm.name}:{name}", fallback, script)
        lease = self.settings.lease
        return LeasingLimiter(limiter, lease, max_keys, self._clock) if lease > 1 else limiter

    def table(self, name: str, max_keys: int) -> RedisEntries:
        """Return the entries of a table that all machines share."""
        key = f"{{table:{name}}}".encode()

        def run(script: Runs[T], *words: Word) -> T:
            try:
                return self.evaluate(script, key, *words)
            except ForeignKeyError as error:
                owned = (self._prefix + key).decode()
                raise RuntimeError(f"the key {owned} in Redis is of another program: {error}") from None
            except StoreError as error:
                raise StoreUnavailableError(str(error)) from None

        return RedisEntries(run, max_keys)

    def client(self, longest: float) -> Any:  # noqa: ANN401 redis-py is an extra
        """Return a client of redis-py for users' own commands. Each wait ends after so many seconds."""
        return client(self._url, self.settings, longest)

    def evaluate(self, script: Runs[T], key: bytes, *arguments: Word) -> T:
        """Run the script in one round trip. Raises StoreError, at once while Redis is unavailable."""
        if self._down_since is not None:
            raise StoreError("redis is unavailable")
        return self._ask(script, key, *arguments)

    def _ask(self, script: Runs[T], key: bytes, *arguments: Word) -> T:
        began = self._clock()
        self.trips += 1
        try:
            answer = self._connections.evaluate(script, self._prefix + key, *arguments)
        except ForeignKeyError as error:
            self.failures += 1
            if not self._has_foreign_key:
                self._has_foreign_key = True
                _log.error("%s: a key with the gateway's prefix is of another program: %s", self.describe(), error)
            raise
        except StoreError as error:
            self.failures += 1
            self._in_a_row += 1
            if self._in_a_row >= _MAX_FAILURES and self._down_since is None:
                self._mark_unavailable(error)
            raise
        finally:
            self.seconds += self._clock() - began
        self._in_a_row = 0
        return answer

    def _mark_unavailable(self, error: StoreError) -> None:
        self._down_since = self._clock()
        _log.error("%s unavailable: %s; %s until it returns", self.describe(), error, self.settings.meanwhile)
        if not self._checker:
            self._checker = gevent.spawn_later(_CHECK_INTERVAL, self._check)

    def _check(self) -> None:
        """Run the requests' own script: a Redis may answer and yet reject writes."""
        while not self._answers():
            gevent.sleep(_CHECK_INTERVAL if self._down_since is not None else 0)
        if self._down_since is not None:
            down_since, self._down_since = self._down_since, None
            _log.info("%s available again after %.1f s", self.describe(), self._clock() - down_since)

    def _answers(self) -> bool:
        try:
            self._ask(LIMIT, b"probe", _SECOND, 1, 1, 0, _SECOND)
        except ForeignKeyError:
            return True
        except StoreError:
            return False
        return True

    def close(self) -> None:
        """Stop the checks and close the connections."""
        if self._checker is not None:
            self._checker.kill()
        self._connections.close()


class RedisLimiter:
    """A limiter of several machines: each machine admits requests as if it had seen those of all."""

    def __init__(self, store: RedisStore, name: str, fallback: Limiter, script: Script = LIMIT) -> None:
        self._store = store
        self._name = name
        self._script = script
        #: The limiter while Redis does not answer.
        self._fallback = fallback

    def take(self, key: str, rate: Rate, within: float = inf, /) -> Verdict:
        """Admit one more request of `key` if the rate allows it, and count it then."""
        return self.grant(key, rate, 1, within)[1]

    def grant(self, key: str, rate: Rate, wanted: int, within: float = inf) -> tuple[int, Verdict]:
        """Count up to `wanted` requests at once. Return their number, and the verdict on the first.

        A lease of more than one permit is valid for a sixtieth of the window.
        """
        window = _microseconds(rate)
        lease = window // STEPS if wanted > 1 else 0
        bound = window if within >= rate.window else round(within * _SECOND)
        words = (window, rate.limit, wanted, lease, bound)
        try:
            granted, remaining, wait, reset = self._store.evaluate(self._script, self._place(key, rate), *words)
        except StoreError:
            verdict = self._fallback.take(key, rate, within)
            return int(verdict.admitted), verdict
        left = remaining + max(granted - 1, 0)
        return granted, Verdict(granted > 0, left, 0.0 if left else wait / _SECOND, reset / _SECOND)

    def look(self, key: str, rate: Rate, /) -> float:
        """Return the seconds until one more request of `key` is admitted; 0 for now. Count nothing."""
        window = _microseconds(rate)
        words = (window, rate.limit, 0, 0, window)
        try:
            _, remaining, wait, _ = self._store.evaluate(self._script, self._place(key, rate), *words)
        except StoreError:
            return self._fallback.look(key, rate)
        return 0.0 if remaining else wait / _SECOND

    def _place(self, key: str, rate: Rate) -> bytes:
        return f"{self._name}:{rate.window:g}:{key}".encode("utf-8", "surrogatepass")


def _microseconds(rate: Rate) -> int:
    """Return the window in microseconds, at least 1: Redis rejects a life of 0, as of a burst at 10000000/second."""
    return max(1, round(rate.window * _SECOND))


class _RejectingLimiter:
    """A limiter that raises instead of a verdict, because there are no counts."""

    def take(self, _key: str, _rate: Rate, _within: float = inf, /) -> Verdict:
        raise StoreUnavailableError

    def look(self, _key: str, _rate: Rate, /) -> float:
        raise StoreUnavailableError
