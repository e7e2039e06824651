"""Rate limit of requests per client; requests above it get 429."""

import re
from dataclasses import dataclass, field
from hashlib import blake2b
from math import ceil
from typing import Literal, NoReturn

from gproxy.config.types import Rate, Seconds
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.header_names import TOKEN_CHAR
from gproxy.http.rate_limit_fields import QuotaFields
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.trust import network_of
from gproxy.runtime import Runtime
from gproxy.state.rate_limit.limiter import Limiter, MemoryLimiter, Verdict

_is_key = re.compile(rf"ip|user|header:({TOKEN_CHAR}+)").fullmatch
_is_plain = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch

#: A user or header value up to this length is the key itself, a longer one its digest: this bounds the memory.
_MAX_KEY = 64


@dataclass
class RateLimit:
    """Rate limit: admits `limit` requests per client in any window of time, and reports the remaining quota.

    The response has RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers), or the older X-RateLimit-*
    with the seconds until the reset. Raises HTTPError 429 with Retry-After.
    """

    limit: Rate = field(
        default=Rate(100, Seconds(60.0)), metadata={"doc": "requests per client and time: 100/minute, 5/10s"}
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
        if not (match := _is_key(self.key)):
            raise ValueError(f"key: {self.key!r} is not a key; expected ip, user or header:NAME")
        if self.max_clients < 1:
            raise ValueError("max_clients: expected at least 1")
        if not _is_plain(self.policy):
            raise ValueError(
                f"policy: {self.policy!r} is not a name; expected up to 64 of A-Z, a-z, 0-9, dot, dash, underscore"
            )
        self._header = match[1]
        self._by_address = self.key == "ip"
        ietf, legacy = self.headers in {"ietf", "both"}, self.headers in {"legacy", "both"}
        window = ceil(self.limit.window)
        self._fields = QuotaFields(self.policy, self.limit.limit, window, ietf=ietf, legacy=legacy)
        self.limiter = MemoryLimiter(self.max_clients)
        self._rejected = 0

    def open(self, runtime: Runtime) -> None:
        self.limiter = runtime.limiter(self.name, self.max_clients)
        runtime.metrics.watch("gproxy_rate_limited_total", (self.name,), lambda: self._rejected)

    def __call__(self, request: Request, next: Next) -> Response:
        key = network_of(request.client) if self._by_address else self._user_or_header(request)
        verdict = self.limiter.take(key, self.limit)
        if not verdict.admitted:
            self._reject(verdict)
        response = next(request)
        # A 429 from an inner limit already has the fields of the limit that the client has exceeded.
        if response.status != 429 or "retry-after" not in response.headers:
            self._fields.put(response.headers, verdict.remaining, verdict.wait or verdict.reset)
        return response

    def _user_or_header(self, request: Request) -> str:
        """Return the key. Its prefix distinguishes a user or header value from an equal address."""
        value = request.headers.get(self._header) if self._header else request.user
        if not value:
            return network_of(request.client)
        if len(value) > _MAX_KEY:
            return "#" + blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return "=" + value

    def _reject(self, verdict: Verdict) -> NoReturn:
        self._rejected += 1
        wait = max(1, ceil(verdict.wait))
        error = HTTPError(429, f"rate limit of {self.limit} exceeded; retry in {wait} s", reason="rate_limited")
        error.headers.put("Retry-After", "retry-after", str(wait))
        self._fields.put(error.headers, verdict.remaining, verdict.wait)
        raise error
