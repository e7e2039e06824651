"""A key set that is fetched from an issuer: periodically, after failures, and for a key that is not known yet."""

import logging
from collections.abc import Callable, Iterable
from random import Random
from typing import Final, NamedTuple

import gevent
from gevent.event import Event

from gproxy.http.deadline import Deadline
from gproxy.identity.errors import Unavailable
from gproxy.identity.key_sets.key_set import Key, KeySet
from gproxy.identity.key_sets.live_key_set import LiveKeySet
from gproxy.identity.outgoing.client import OutgoingError
from gproxy.runtime import Runtime

#: Seconds between two fetches for unknown keys: so a flood of them costs the issuer two requests a minute.
TURN: Final = 30.0
#: Longest time in seconds that a request waits for an unknown key.
WAIT: Final = 1.0
#: Longest pause after a failure, in seconds; the first one is 1 s, each further one twice as long.
_LONGEST_RETRY: Final = 60.0
#: Share of each pause that is random, so that workers and gateways spread their fetches.
_JITTER: Final = 0.1
#: Seconds after which a failure with the same reason is logged again.
_REPEAT: Final = 600.0
#: The number of reasons that are logged within this time: the texts of an issuer may never repeat.
_REASONS: Final = 5

_log = logging.getLogger("gproxy")


class Fetched(NamedTuple):
    """A key set, and its bytes as they came."""

    keys: KeySet
    data: bytes


#: Returns the set of an issuer, with unchanged keys as the objects that it gets. Raises OutgoingError.
Fetch = Callable[[Iterable[Key]], Fetched]


class FetchedKeySet(LiveKeySet):
    """A key set with a greenlet that fetches it. `keep` gets the bytes of each set, and may block.

    settled: set after the first fetch, whatever its result.
    """

    def __init__(self, name: str, runtime: Runtime, fetch: Fetch, keep: Callable[[bytes], object]) -> None:
        super().__init__(name, runtime.monotonic)
        self.settled = Event()
        self._spawn = runtime.spawn
        self._random: Random = runtime.random
        self._fetch = fetch
        self._keep = keep
        self._refresh_every = 0.0
        self._greenlet: gevent.Greenlet | None = None
        self._wake = Event()
        #: The fetch for unknown keys that is due or under way, and when the last one began.
        self._turn: Event | None = None
        self._turn_began = -TURN
        self._failures = 0
        #: Reasons of failures that were logged lately, and when.
        self._logged: dict[str, float] = {}

    def refresh_every(self, seconds: float) -> None:
        """Fetch the set at least this often; the shortest of all handlers' times counts."""
        self._refresh_every = min(self._refresh_every or seconds, seconds)

    def start(self) -> None:
        """Fetch the set now and from time to time."""
        self._greenlet = self._greenlet or self._spawn(self._run)

    def stop(self) -> None:
        """Fetch the set no longer."""
        greenlet, self._greenlet = self._greenlet, None
        if greenlet is not None:
            greenlet.kill(block=False)

    def ask(self, deadline: Deadline | None) -> None:
        """Let the set be fetched now, unless that was done lately for this reason; wait for it.

        Raises Unavailable if there is no result after WAIT seconds, or at the deadline.
        """
        if self._turn is None:
            now = self.monotonic()
            if now - self._turn_began < TURN:
                return
            self._turn_began = now
            self._turn = Event()
            self._wake.set()
        seconds = WAIT if deadline is None else min(WAIT, deadline.remaining())
        if not self._turn.wait(seconds):
            raise Unavailable(f"keys of {self.name} are being fetched")

    def step(self) -> float:
        """Fetch the set once, let waiting requests continue, and return the seconds until the next fetch."""
        self._wake.clear()
        turn = self._turn  # requests that begin to wait during this fetch get another one
        self._refresh()
        self.settled.set()
        if turn is not None:
            self._turn = None
            turn.set()
        retry = min(_LONGEST_RETRY, self._refresh_every, 2.0 ** min(self._failures - 1, 10))
        pause = retry if self._failures else self._refresh_every
        return pause * (1 + _JITTER * (2 * self._random.random() - 1))

    def _run(self) -> None:
        while True:
            self._rest(self.step())

    def _rest(self, seconds: float) -> None:
        """Wait so long, or until a request needs an unknown key. Keys that become too old meanwhile end."""
        end = self.monotonic() + seconds
        while (now := self.monotonic()) < end:
            self.expire(now)
            if self._wake.wait(max(0.0, min(end, self.expires) - now)):
                return

    def _refresh(self) -> None:
        try:
            self._succeed(self._fetch(self.keys.keys if self.keys else ()))
        except OutgoingError as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001 whatever fails, the next fetch must come
            _log.exception("keys of %s cannot be fetched", self.name)
            self._fail(type(error).__name__)

    def _succeed(self, fetched: Fetched) -> None:
        failures, self._failures = self._failures, 0
        self.fetches["ok"] += 1
        self.is_fresh, self.last_error = True, ""
        self.take(fetched.keys, self.monotonic())
        if failures:
            _log.info("keys of %s: fetched again after %d failures", self.name, failures)
        self._logged.clear()
        self._keep(fetched.data)

    def _fail(self, reason: str) -> None:
        self._failures += 1
        self.fetches["failed"] += 1
        self.is_fresh, self.last_error = False, reason
        if not self._is_news(reason):
            _log.debug("keys of %s: %s", self.name, reason)
            return
        kept = "; the last keys stay in use" if self.keys else ""
        _log.warning("keys of %s cannot be fetched: %s%s", self.name, reason, kept)

    def _is_news(self, reason: str) -> bool:
        """Return whether a failure with this reason is to be logged now."""
        now = self.monotonic()
        self._logged = {text: when for text, when in self._logged.items() if now < when + _REPEAT}
        if reason in self._logged or len(self._logged) >= _REASONS:
            return False
        self._logged[reason] = now
        return True
