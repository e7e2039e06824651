"""Rate limit of requests per client; requests above it get 429."""

import re
from dataclasses import dataclass, field
from math import ceil
from typing import Final, Literal, NoReturn

from gproxy.config.types import Rate, Seconds
from gproxy.http.client_key import ClientKey
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.rate_limit_fields import QuotaFields
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.runtime import Runtime
from gproxy.runtime.client_watch import ClientWatch
from gproxy.state.rate_limit.limiter import Limiter, MemoryLimiter, Verdict
from gproxy.state.rate_limit.shared_limiter import SLIDING_WINDOW, TOKEN_BUCKET

_is_plain = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch

#: The shortest pause, in seconds: the loop's timers are no more exact.
_SHORTEST: Final = 0.001


@dataclass
class RateLimit:
    """Rate limit: admits `limit` requests per client in any window of time, and reports the remaining quota.

    With `burst` a token bucket takes the place of the window: it has `burst` tokens, a request takes one, and they
    return one after the other at the rate of `limit`. With `delay` only so many requests start at once; further ones
    wait, and start one after the other at that rate.

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
        default="ip", metadata={"doc": "key that identifies a client: ip (IPv6: the /64), user, header:NAME"}
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
    #: Counts the requests; may be replaced after `open`.
    limiter: Limiter = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError."""
        self._key = ClientKey(self.key)
        if self.max_clients < 1:
            raise ValueError("max_clients: expected at least 1")
        if not _is_plain(self.policy):
            raise ValueError(
                f"policy: {self.policy!r} is not a name; expected up to 64 of A-Z, a-z, 0-9, dot, dash, underscore"
            )
        self._check_burst()
        limit, window = self.limit.limit, self.limit.window
        #: What the limiter gets: of a token bucket its size, and the time in which it fills.
        self._rate = Rate(self.burst, Seconds(self.burst * window / limit)) if self.burst else self.limit
        #: The time in which the tokens return that requests may take without a pause; 0: no request pauses.
        self._at_once = self.delay * window / limit if self.delay else 0.0
        ietf, legacy = self.headers in {"ietf", "both"}, self.headers in {"legacy", "both"}
        quota = (self._rate.limit, ceil(self._rate.window))
        self._fields = QuotaFields(self.policy, *quota, ietf=ietf, legacy=legacy)
        self._algorithm = TOKEN_BUCKET if self.burst else SLIDING_WINDOW
        self.limiter = MemoryLimiter(self.max_clients, kind=self._algorithm.bucket)
        self._rejected = self._delayed = 0

    def _check_burst(self) -> None:
        if self.burst is not None and self.burst < 1:
            raise ValueError(f"burst: expected at least 1; found {self.burst}")
        if self.delay is None:
            return
        if self.burst is None:
            raise ValueError("delay: needs burst, the most requests that are admitted at once or wait")
        if not 1 <= self.delay <= self.burst:
            raise ValueError(f"delay: expected 1 to {self.burst}, the burst; found {self.delay}")

    @property
    def longest_pause(self) -> float:
        """The seconds that the last request of a burst waits."""
        return self._rate.window - self._at_once if self._at_once else 0.0

    def open(self, runtime: Runtime) -> None:
        self.limiter = runtime.limiter(self.name, self.max_clients, self._algorithm)
        runtime.metrics.watch("gproxy_rate_limit_delayed_total", (self.name,), lambda: self._delayed)
        runtime.metrics.watch("gproxy_rate_limited_total", (self.name,), lambda: self._rejected)

    def __call__(self, request: Request, next: Next) -> Response:
        key = self._key.of(request)
        verdict = self._take_turn(key, request) if self._at_once else self.limiter.take(key, self._rate)
        if not verdict.admitted:
            self._reject(verdict)
        response = next(request)
        # A 429 from an inner limit already has the fields of the limit that the client has exceeded.
        if response.status != 429 or "retry-after" not in response.headers:
            self._fields.put(response.headers, verdict.remaining, verdict.wait or verdict.reset)
        return response

    def _take_turn(self, key: str, request: Request) -> Verdict:
        """Wait for the turn of an admitted request, at most half of the time that it has left.

        The other half is for the backend, which would be to blame if it had no time. A request that ends before its
        turn has used it: those behind it have theirs already. Raises ClientGone.
        """
        latest = self._at_once + request.deadline.remaining() / 2
        verdict = self.limiter.take(key, self._rate, min(latest, self._rate.window))
        pause = verdict.reset - self._at_once
        if verdict.admitted and pause > _SHORTEST:
            self._delayed += 1
            client = request.client_stream
            # Only the connection's own greenlet can watch the client.
            ClientWatch(client if client is not None and client.in_own_greenlet() else None).wait(pause)
        return verdict

    def _reject(self, verdict: Verdict) -> NoReturn:
        self._rejected += 1
        wait = max(1, ceil(verdict.wait))
        error = HTTPError(429, f"rate limit of {self.limit} exceeded; retry in {wait} s", reason="rate_limited")
        error.headers.put("Retry-After", "retry-after", str(wait))
        self._fields.put(error.headers, verdict.remaining, verdict.wait)
        raise error
