"""Rate limit of requests per client; requests above it get 429."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil
from typing import Final, Literal

from gproxy.config.types import Rate, Seconds
from gproxy.handlers.steps.rate_limit import Quota, RateLimitStep, Windows
from gproxy.http.client_key import ClientKey
from gproxy.http.handler import Handler
from gproxy.http.rate_limit_fields import QuotaFields
from gproxy.http.request import Request
from gproxy.identity.tiers import MOST, Tier, Tiers
from gproxy.runtime import Runtime
from gproxy.runtime.client_watch import ClientWatch
from gproxy.state.rate_limit.limiter import Limiter, MemoryLimiter
from gproxy.state.rate_limit.shared_limiter import SLIDING_WINDOW, TOKEN_BUCKET

_is_plain = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch

#: The windows of rates in claims, in seconds: a second to a day.
_CLAIMED_WINDOWS: Final = (1.0, 86_400.0)


@dataclass
class RateLimit:
    """Rate limit: admits `limit` requests per client in any window of time, and reports the remaining quota.

    With `burst` a token bucket takes the place of the window: it has `burst` tokens, a request takes one, and they
    return one after the other at the rate of `limit`. With `delay` only so many requests start at once; further ones
    wait, and start one after the other at that rate.

    With `tier` a claim of the identity selects the rate: it is the name of one of `tiers`, or a rate itself. A client
    keeps its counts when its rate changes; with `burst` it has a bucket for each rate.

    The response has RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers), or the older X-RateLimit-*
    with the seconds until the reset. Raises HTTPError 429 with Retry-After.
    """

    limit: Rate = field(
        default=Rate(100, Seconds(60.0)), metadata={"doc": "requests per client and time: 100/minute, 5/10s"}
    )
    burst: int | None = field(
        default=None,
        metadata={"doc": "requests admitted at once after a pause, further ones at the rate of limit; none: limit"},
    )
    delay: int | None = field(
        default=None,
        metadata={"doc": "requests of a burst that start at once, further ones wait in turn; none: all of them"},
    )
    key: str = field(
        default="ip",
        metadata={"doc": "key that identifies a client: ip (IPv6: the /64), user, claim:NAME, header:NAME"},
    )
    tier: str | None = field(
        default=None, metadata={"doc": "claim that names the tier of a client, or is its rate; none: limit for all"}
    )
    tiers: dict[str, Rate] = field(
        default_factory=dict, metadata={"doc": "rate of each tier, as in free: 60/minute; others get limit"}
    )
    headers: Literal["ietf", "legacy", "both", "off"] = field(
        default="ietf", metadata={"doc": "response headers that report the remaining quota"}
    )
    max_clients: int = field(
        default=100_000,
        metadata={"doc": "maximum number of clients in memory; above it the least recently seen is forgotten"},
    )
    policy: str = field(default="default", metadata={"doc": "name of this limit in the response headers"})

    #: The section's name, set by build.py; the store keeps the counts under it.
    name: str = field(init=False, default="rate_limit")

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError with a line for each problem."""
        if problems := [*self._problems()]:
            raise ValueError("\n".join(problems))
        key = ClientKey(self.key)
        #: Whether the identity of a request decides under which key it counts, or its limit.
        self.needs_identity = self.tier is not None or key.is_of_identity
        self._warn: Callable[..., None] | None = None
        self._algorithm = TOKEN_BUCKET if self.burst else SLIDING_WINDOW
        self._windows = Windows()
        self._quota = self._quota_of(self.limit)
        #: None without a tier: all clients have the same quota.
        self._tiers = self._tiers_of(self.tier) if self.tier else None
        limiter = MemoryLimiter(self.max_clients, kind=self._algorithm.bucket)
        self._step = RateLimitStep(key, self._quota, self._tiers, self._windows, limiter, self._pause)

    def _problems(self) -> Iterator[str]:
        if self.max_clients < 1:
            yield "max_clients: expected at least 1"
        if not _is_plain(self.policy):
            yield f"policy: {self.policy!r} is not a name; expected up to 64 of A-Z, a-z, 0-9, dot, dash, underscore"
        if self.burst is None:
            if self.delay is not None:
                yield "delay: needs burst, the most requests that are admitted at once or wait"
        elif self.burst < 1:
            yield f"burst: expected at least 1; found {self.burst}"
        elif self.delay is not None and not 1 <= self.delay <= self.burst:
            yield f"delay: expected 1 to {self.burst}, the burst; found {self.delay}"
        if self.tiers and not self.tier:
            yield "tiers: needs tier, the claim that names the tier of a client"

    def _quota_of(self, limit: Rate) -> Quota:
        """Return what follows of a limit, with the burst and the delay of the handler."""
        count, window = limit.limit, limit.window
        rate = Rate(self.burst, Seconds(self.burst * window / count)) if self.burst else limit
        ietf, legacy = self.headers in {"ietf", "both"}, self.headers in {"legacy", "both"}
        fields = QuotaFields(self.policy, rate.limit, ceil(rate.window), ietf=ietf, legacy=legacy)
        if not self.burst:
            self._windows.note(rate)
        return Quota(limit, rate, self.delay * window / count if self.delay else 0.0, fields)

    def _tiers_of(self, claim: str) -> Tiers[Quota]:
        quotas = {name: self._quota_of(rate) for name, rate in self.tiers.items()}
        return Tiers(claim, self._quota, quotas, self._claimed, self._warn_of_rates, self._warn_of_claim)

    def _claimed(self, text: str) -> Quota:
        """Return what follows of a claim that is a rate. Raises ValueError for one that is none."""
        rate = Rate.parse(text)
        shortest, longest = _CLAIMED_WINDOWS
        if not shortest <= rate.window <= longest:
            raise ValueError("the window of a rate in a claim is a second to a day")
        return self._quota_of(rate)

    def _warn_of_rates(self) -> None:
        if self._warn is not None:
            message = "[handler:%s] tier: claims have more than %d different rates; further clients get limit"
            self._warn(f"[handler:{self.name}] tier", message, self.name, MOST)

    def _warn_of_claim(self, problem: str) -> None:
        if self._warn is not None:
            self._warn(f"[handler:{self.name}] claims", "[handler:%s] tier: %s", self.name, problem)

    @property
    def longest_pause(self) -> float:
        """The seconds that the last request of a burst waits."""
        quotas = self._tiers.limits if self._tiers else [self._quota]
        return max(quota.longest_pause for quota in quotas)

    @property
    def limiter(self) -> Limiter:
        """The counter of requests; another one after `open`."""
        return self._step.limiter

    def tier_of(self, request: Request) -> Tier[Quota]:
        """Return the tier of the request's client."""
        return self._tiers.of(request.identity) if self._tiers else Tier("", self._quota)

    def open(self, runtime: Runtime) -> None:
        self._warn = runtime.throttle.warn
        step = self._step
        step.limiter = runtime.limiter(self.name, self.max_clients, self._algorithm)
        runtime.metrics.watch("gproxy_rate_limit_delayed_total", (self.name,), lambda: step.delayed)
        runtime.metrics.watch("gproxy_rate_limited_total", (self.name,), lambda: step.rejected)

    @property
    def __call__(self) -> Handler:
        """The step, which the chain calls in place of the handler."""
        return self._step

    def _pause(self, request: Request, seconds: float) -> None:
        """Wait for the turn of a request, here, where a stack shows the handler. Raises ClientGone."""
        ClientWatch.of(request).wait(seconds)
