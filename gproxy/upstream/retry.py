"""The retry policy and the retry budget: whether a retry follows, after which pause, and how many there may be.

A policy is a value: the retry options, and the history of one request's attempts. Each failed attempt gives a new
policy with a longer history. All requests begin with the same policy, which never changes.
"""

import math
import random
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.utils import mktime_tz, parsedate_tz
from typing import Final, NamedTuple, Protocol, Self

from gproxy.config.sections.retry import RetryOn, RetryOptions
from gproxy.config.types.matchers import Statuses, as_set
from gproxy.http.headers import Headers
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.upstream.backend import Backend
from gproxy.upstream.failure import NONE_AVAILABLE, Failure, as_response_error

#: How many stale connections one request may meet, besides its retries.
_STALE_TRIES: Final = 3
#: How many retries the budget allows at least: at a time, and within a period of `sample`.
LEAST: Final = 3


class FailedAttempt(NamedTuple):
    """A failed attempt: the backend and the failure."""

    backend: Backend
    failure: Failure
    #: The error; None for a response with a retryable status.
    cause: BaseException | None = None
    #: That response, still open.
    response: Response | None = None


#: Why a request with a large body is not retried.
TOO_LARGE: Final = "the request body exceeds the replay limit"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The retry options, with the failed attempts of one request in `history`, the last one last."""

    retries: int
    on: frozenset[RetryOn]
    methods: frozenset[str]
    backoff: float
    backoff_max: float
    honours_retry_after: bool
    history: tuple[FailedAttempt, ...] = ()
    #: How often the request was tried; an attempt and its hedge count as one.
    rounds: int = 0
    #: The backends tried in this pass over the group; the next attempt avoids them.
    tried: tuple[Backend, ...] = field(default=(), repr=False)

    @classmethod
    def of(
        cls, options: RetryOptions, *, retries: int | None = None, on: Collection[RetryOn] | None = None
    ) -> "RetryPolicy":
        """Return the policy of an upstream's options; `retries` and `on` override them for one route."""
        return cls(
            retries=options.retries if retries is None else retries,
            on=frozenset(options.on if on is None else on) | {"connect"},
            methods=frozenset(options.methods),
            backoff=options.backoff,
            backoff_max=options.backoff_max,
            honours_retry_after=options.after,
        )

    @property
    def statuses(self) -> frozenset[int]:
        """The retryable statuses; empty without retries."""
        return as_set(one for one in self.on if isinstance(one, Statuses)) if self.retries else frozenset()

    @property
    def last(self) -> FailedAttempt:
        return self.history[-1]

    def with_failures(self, *failed: FailedAttempt) -> "RetryPolicy":
        """Return the policy with these failed attempts added to its history."""
        backends = tuple(one.backend for one in failed if not one.failure.lost_connection)
        repeats = any(backend in self.tried for backend in backends)
        tried = backends if repeats else (*self.tried, *backends)  # a new pass: failed backends may have recovered
        return replace(self, history=(*self.history, *failed), rounds=self.rounds + 1, tried=tried)

    def covers(self, request: Request) -> bool:
        """Return whether the request may be executed twice, by its method or by an Idempotency-Key."""
        return request.method in self.methods or "idempotency-key" in request.headers

    @property
    def repeats_unavailable(self) -> bool:
        """True if a gRPC response that is only the status UNAVAILABLE may be followed by a retry."""
        return bool(self.retries) and "grpc_unavailable" in self.on

    def why_not(self, request: Request) -> str:
        """Return why no retry follows, in words; "" if a retry may follow."""
        condition = self.last.failure.retryable_as
        if condition == "never":
            return "the failure is not retryable"
        if condition not in self.on and condition != "status":
            return f"retry_on has no {condition}"
        if condition != "connect" and not self.last.failure.is_unprocessed and not self.covers(request):
            return f"retry_methods has no {request.method}"
        if condition != "connect" and not request.body.can_begin_again:
            return TOO_LARGE
        stale = sum(one.failure.retryable_as == "stale" for one in self.history)
        if stale > _STALE_TRIES or self.rounds - stale > self.retries:
            return "no retries are left"
        return "" if request.deadline.remaining() > 0 else "the deadline has passed"

    @property
    def is_free(self) -> bool:
        """True if the last attempt reached no backend: a retry then adds no load, and needs no permit."""
        return self.last.failure.retryable_as in ("connect", "stale")

    @property
    def asks_the_same(self) -> bool:
        """True if a retry may go to the same backend for lack of another: the backend is alive, but slow or busy."""
        return self.last.failure.retryable_as in ("status", "timeout", "grpc_unavailable", "stale")

    def pause(self, rng: random.Random, clock: Callable[[], float] = time.time, *, untried: bool) -> float:
        """Return the seconds before the next attempt: a backoff with full jitter, or the response's Retry-After.

        Return 0 if the last attempt reached no backend, and another backend is `untried` or only a connection was lost.
        """
        last = self.last
        if self.is_free and (untried or last.failure.lost_connection):
            return 0.0
        if self.honours_retry_after and last.response is not None:
            wanted = retry_after(last.response.headers, clock)
            if wanted is not None:
                return wanted
        most: float = min(self.backoff_max, self.backoff * 2 ** min(len(self.history) - 1, 30))
        return rng.random() * most

    def give_up(self) -> Response:
        """Return the last attempt's response unchanged, or raise its failure as an HTTPError."""
        if not self.history:
            raise as_response_error(NONE_AVAILABLE)
        if self.last.response is not None:
            return self.last.response
        raise as_response_error(self.last.failure, self.last.cause) from None


def retry_after(headers: Headers, clock: Callable[[], float]) -> float | None:
    """Return the seconds until the time in Retry-After (RFC 9110 section 10.2.3); None if it is absent or invalid."""
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
    """An object that counts its attempts, and those that are active."""

    @property
    def active(self) -> int: ...
    @property
    def attempts(self) -> int: ...


class Budget:
    """A bound on the retries to one upstream: a share of its requests, and always a few.

    Without a budget, retries would double the load of an overloaded upstream. The share is one of the active requests,
    and one of the requests since the last but one `sample`: retries that end quickly are many, though few at a time.
    A `share` of None is no limit.
    """

    def __init__(self, share: float | None, backends: Collection[_Busy]) -> None:
        self._share = share
        self._backends = backends
        #: Active retries.
        self.taken = 0
        self._pausing = 0
        #: The numbers of retries since the start: those that took from the budget, and those that added no load.
        self._retries = 0
        self._free_retries = 0
        #: The numbers of requests and of retries at the last two samples.
        self._samples = [(0, 0), (0, 0)]

    @property
    def limit(self) -> float:
        """The present number of allowed retries."""
        if self._share is None:
            return math.inf
        active = sum(backend.active for backend in self._backends) + self._pausing + 1
        return max(LEAST, self._share * active)

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Count a request that waits before its retry as active: no backend counts it."""
        self._pausing += 1
        try:
            yield
        finally:
            self._pausing -= 1

    @property
    def _requests(self) -> int:
        """The number of requests since the start: all attempts but the repeated ones. The backends count them."""
        return sum(backend.attempts for backend in self._backends) - self._retries - self._free_retries

    def sample(self) -> None:
        """Begin another period; to be called once a second."""
        self._samples = [self._samples[1], (self._requests, self._retries)]

    @property
    def is_spent(self) -> bool:
        """True if the retries since the last but one sample have reached the share of the requests since then."""
        if self._share is None:
            return False
        requests, retries = self._samples[0]
        allowed = LEAST + self._share * max(0, self._requests - requests)
        return self._retries - retries + 1 > allowed

    def take(self, *, again: bool = False) -> bool:
        """Take a permit, to be returned with `give_back`, or use one `again`. Return False if no retry is allowed."""
        if self.is_spent or (not again and self.taken >= self.limit):
            return False
        self._retries += 1
        if not again:
            self.taken += 1
        return True

    def note_free(self) -> None:
        """Count a retry after an attempt that has reached no backend."""
        self._free_retries += 1

    def give_back(self) -> None:
        self.taken -= 1


class RetryPermit:
    """A request's permit from the budget: taken at its first retry, and returned at the end of the block."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._has_it = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._has_it:
            self._budget.give_back()

    def take(self) -> bool:
        """Take the permit for one more retry. Return False if no retry is allowed."""
        if not self._budget.take(again=self._has_it):
            return False
        self._has_it = True
        return True
