"""Is there another attempt, when, and how many may there be at a time.

A policy is a value: what was configured, and the history of one request's attempts. Each failed attempt gives a new
policy with a longer history; nobody changes the one that all requests begin with.
"""

import math
import random
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.utils import mktime_tz, parsedate_tz
from typing import Final, NamedTuple, Protocol, Self

from gproxy.config.sections.retry import RetryOn
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types.matchers import Statuses, as_set
from gproxy.http.headers import Headers
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.upstream.backend import Backend
from gproxy.upstream.failure import NONE_AVAILABLE, Failure, as_response_error

#: How many stale connections may be met on the way, besides the retries.
_STALE_TRIES: Final = 3
#: How many retries at a time are allowed however little is under way.
LEAST: Final = 3


class FailedAttempt(NamedTuple):
    """An attempt that failed, and how."""

    backend: Backend
    failure: Failure
    #: What was raised; None for an answer whose status is one to try again after.
    cause: BaseException | None = None
    #: That answer, not closed yet.
    response: Response | None = None


#: Why a request with a large body has one attempt only.
TOO_LARGE: Final = "its body is larger than what is kept"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What was configured; `history` has the attempts that failed, the last one last."""

    retries: int
    on: frozenset[RetryOn]
    methods: frozenset[str]
    backoff: float
    backoff_max: float
    honours_retry_after: bool
    history: tuple[FailedAttempt, ...] = ()
    #: How often attempts were made: a hedge and what it helps are one.
    rounds: int = 0
    #: The backends that were tried and had better not be asked again.
    tried: tuple[Backend, ...] = field(default=(), repr=False)

    @classmethod
    def of(
        cls, settings: UpstreamSettings, *, retries: int | None = None, on: Collection[RetryOn] | None = None
    ) -> "RetryPolicy":
        """As the upstream's section says, but for what a route says otherwise."""
        return cls(
            retries=settings.retries if retries is None else retries,
            on=frozenset(settings.retry_on if on is None else on) | {"connect"},
            methods=frozenset(settings.retry_methods),
            backoff=settings.retry_backoff,
            backoff_max=settings.retry_backoff_max,
            honours_retry_after=settings.retry_after,
        )

    @property
    def statuses(self) -> frozenset[int]:
        """Answers after which another attempt is made."""
        return as_set(one for one in self.on if isinstance(one, Statuses)) if self.retries else frozenset()

    @property
    def last(self) -> FailedAttempt:
        return self.history[-1]

    def after(self, *failed: FailedAttempt) -> "RetryPolicy":
        """The policy once these attempts have failed."""
        asked = tuple(one.backend for one in failed if one.failure.retryable_as != "stale")
        again = any(backend in self.tried for backend in asked)
        tried = asked if again else (*self.tried, *asked)  # in a new round: those that were gone may be back
        return replace(self, history=(*self.history, *failed), rounds=self.rounds + 1, tried=tried)

    def covers(self, request: Request) -> bool:
        """May it be done twice: by its method, or because the client has made it so with a key?"""
        return request.method in self.methods or "idempotency-key" in request.headers

    def why_not(self, request: Request) -> str:
        """Why nothing more is tried, in words; empty if another attempt may be made."""
        again = self.last.failure.retryable_as
        if again == "never":
            return "not after this"
        if again not in self.on and again != "status":
            return f"retry_on has no {again}"
        if again != "connect" and not self.covers(request):
            return f"{request.method} may not be done twice"
        if again != "connect" and not request.body.can_begin_again:
            return TOO_LARGE
        stale = sum(one.failure.retryable_as == "stale" for one in self.history)
        if stale > _STALE_TRIES or self.rounds - stale > self.retries:
            return "that was the last attempt"
        return "" if request.deadline.remaining() > 0 else "the time is over"

    @property
    def is_free(self) -> bool:
        """Did the last attempt reach no backend? Then another one is no additional load."""
        return self.last.failure.retryable_as in ("connect", "stale")

    @property
    def asks_the_same(self) -> bool:
        """May the next attempt go to the same backend, if there is no other? It is alive, but slow or busy."""
        return self.last.failure.retryable_as in ("status", "timeout")

    def pause(self, rng: random.Random, clock: Callable[[], float] = time.time, *, others: bool) -> float:
        """Seconds before the next attempt: full jitter, or what the answer asks for.

        None at all if nobody was reached, and there are others that were not asked yet: there is nothing to wait for.
        """
        last = self.last
        if self.is_free and (others or last.failure.retryable_as == "stale"):
            return 0.0
        if self.honours_retry_after and last.response is not None:
            wanted = retry_after(last.response.headers, clock)
            if wanted is not None:
                return wanted
        most: float = min(self.backoff_max, self.backoff * 2 ** min(len(self.history) - 1, 30))
        return rng.random() * most

    def give_up(self) -> Response:
        """What the last attempt came to: the backend's answer as it is, or its failure. Raises HTTPError."""
        if not self.history:
            raise as_response_error(NONE_AVAILABLE)
        if self.last.response is not None:
            return self.last.response
        raise as_response_error(self.last.failure) from None


def retry_after(headers: Headers, clock: Callable[[], float]) -> float | None:
    """Seconds from now, by the Retry-After field (RFC 9110 section 10.2.3); None if it says nothing sensible."""
    value = headers.get("retry-after")
    if value is None:
        return None
    if value.isascii() and value.isdecimal():
        return float(value) if len(value) < 10 else math.inf
    date = parsedate_tz(value)
    try:
        return max(0.0, mktime_tz(date) - clock()) if date else None
    except (OverflowError, ValueError):
        return None


class _Busy(Protocol):
    """Something with attempts under way."""

    @property
    def active(self) -> int: ...


class Budget:
    """How many retries to one upstream there may be at a time: a share of all requests under way, and always a few.

    Without it an upstream that fails under its load would be asked twice as much. `share` of None: no limit.
    """

    def __init__(self, share: float | None, backends: Collection[_Busy]) -> None:
        self._share = share
        self._backends = backends
        #: Retries under way.
        self.taken = 0
        self._pausing = 0

    @property
    def limit(self) -> float:
        """How many there may be at this moment."""
        if self._share is None:
            return math.inf
        under_way = sum(backend.active for backend in self._backends) + self._pausing + 1
        return max(LEAST, self._share * under_way)

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """A request waits before its retry: it is under way, but at no backend."""
        self._pausing += 1
        try:
            yield
        finally:
            self._pausing -= 1

    def take(self) -> bool:
        """Is there room for one more? Then it is taken until `give_back`."""
        if self.taken >= self.limit:
            return False
        self.taken += 1
        return True

    def give_back(self) -> None:
        self.taken -= 1


class RetryPermit:
    """One request's part of the budget, taken when it is needed and given back at the end."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._has_it = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._has_it:
            self._budget.give_back()

    def take(self) -> bool:
        """Is there room, or has it room already?"""
        self._has_it = self._has_it or self._budget.take()
        return self._has_it
