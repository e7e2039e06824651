"""The step of `rate_limit`: one more request of a client, its turn, and the fields of the response."""

from collections.abc import Callable
from math import ceil
from typing import Final, NoReturn

from gproxy.config.types import Rate
from gproxy.http.client_key import ClientKey
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.rate_limit_fields import QuotaFields
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.identity.tiers import Tiers
from gproxy.state.rate_limit.limiter import Limiter, Verdict

#: The shortest pause, in seconds: the loop's timers are no more exact.
_SHORTEST: Final = 0.001
#: The most windows in which a client is counted; rates from claims may have more.
_MOST_WINDOWS: Final = 8


class Quota:
    """The share of a client: the `limit` as it is written, and what follows of it.

    rate: what the limiter gets: of a token bucket its size, and the time in which it fills. at_once: the seconds in
    which the tokens return that requests may take without a pause; 0: no request pauses. fields: of the response.
    """

    def __init__(self, limit: Rate, rate: Rate, at_once: float, fields: QuotaFields) -> None:
        self.limit = limit
        self.rate = rate
        self.at_once = at_once
        self.fields = fields

    @property
    def longest_pause(self) -> float:
        """The seconds that the last request of a burst waits."""
        return self.rate.window - self.at_once if self.at_once else 0.0


class Windows:
    """The windows in which clients are counted, each with the highest rate of the quotas that have it."""

    def __init__(self) -> None:
        self._rates: dict[float, Rate] = {}
        #: All rates if there are several: an admitted request counts in all windows. Empty for one window.
        self.rates: tuple[Rate, ...] = ()

    def note(self, rate: Rate) -> None:
        """Count clients in the window of this rate from now on."""
        known = self._rates.get(rate.window)
        if known.limit < rate.limit if known else len(self._rates) < _MOST_WINDOWS:
            self._rates[rate.window] = rate
            self.rates = tuple(self._rates.values()) if len(self._rates) > 1 else ()


class RateLimitStep:
    """The step that admits a request if its client has a part of the quota left.

    `tiers` is None if all clients have the same quota. `pause` waits for so many seconds, as long as the client is
    there. Raises HTTPError 429.
    """

    def __init__(
        self,
        key: ClientKey,
        quota: Quota,
        tiers: Tiers[Quota] | None,
        windows: Windows,
        limiter: Limiter,
        pause: Callable[[Request, float], None],
    ) -> None:
        self._key = key
        self._quota = quota
        self._tiers = tiers
        self._windows = windows
        #: Counts the requests.
        self.limiter = limiter
        self._pause = pause
        #: The numbers of requests, for the metrics.
        self.rejected = self.delayed = 0

    def __call__(self, request: Request, next: Next) -> Response:
        quota = self._quota if self._tiers is None else self._tiers.of(request.identity).limit
        key = self._key.of(request)
        verdict = self._take_turn(key, quota, request) if quota.at_once else self.limiter.take(key, quota.rate)
        if not verdict.admitted:
            self._reject(verdict, quota)
        if self._windows.rates:
            self._count_in_other_windows(key, quota.rate.window)
        response = next(request)
        # A 429 from an inner limit already has the fields of the limit that the client has exceeded.
        if response.status != 429 or "retry-after" not in response.headers:
            quota.fields.put(response.headers, verdict.remaining, verdict.wait or verdict.reset)
        return response

    def _count_in_other_windows(self, key: str, window: float) -> None:
        """Count an admitted request for the other tiers: the client may be in one of them with its next request."""
        for rate in self._windows.rates:
            if rate.window != window:
                self.limiter.take(key, rate)

    def _take_turn(self, key: str, quota: Quota, request: Request) -> Verdict:
        """Wait for the turn of an admitted request, at most half of the time that it has left.

        The other half is for the backend, which would be to blame if it had no time. A request that ends before its
        turn has used it: those behind it have theirs already. Raises ClientGone.
        """
        latest = quota.at_once + request.deadline.remaining() / 2
        verdict = self.limiter.take(key, quota.rate, min(latest, quota.rate.window))
        pause = verdict.reset - quota.at_once
        if verdict.admitted and pause > _SHORTEST:
            self.delayed += 1
            self._pause(request, pause)
        return verdict

    def _reject(self, verdict: Verdict, quota: Quota) -> NoReturn:
        self.rejected += 1
        wait = max(1, ceil(verdict.wait))
        error = HTTPError(429, f"rate limit of {quota.limit} exceeded; retry in {wait} s", reason="rate_limited")
        error.headers.put("Retry-After", "retry-after", str(wait))
        quota.fields.put(error.headers, verdict.remaining, verdict.wait)
        raise error
