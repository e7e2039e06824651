"""So many requests in so much time for each client; more are answered 429."""

import re
from dataclasses import dataclass, field
from hashlib import blake2b
from math import ceil
from typing import Literal, NoReturn

from gproxy.config.types import Rate, Seconds
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.headers import TOKEN
from gproxy.http.rate_limit_fields import QuotaFields
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.trust import network_of
from gproxy.runtime import Runtime
from gproxy.state.rate_limit.limiter import Limiter, MemoryLimiter, Verdict

_is_key = re.compile(rf"ip|user|header:({TOKEN}+)").fullmatch
_is_plain = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch

#: A client's own words are kept as they are up to this length; longer ones by their digest, so memory is bounded.
_LONGEST_KEY = 64


@dataclass
class RateLimit:
    """Admits `limit` requests in any window of time for each client, and tells clients how much is left.

    The response has RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers), or the older X-RateLimit-*
    with the seconds until the reset. Raises HTTPError 429 with Retry-After.
    """

    limit: Rate = field(
        default=Rate(100, Seconds(60.0)), metadata={"doc": "requests in a time, for each client: 100/minute, 5/10s"}
    )
    key: str = field(default="ip", metadata={"doc": "what tells clients apart: ip (IPv6: its /64), user, header:NAME"})
    headers: Literal["ietf", "legacy", "both", "off"] = field(
        default="ietf", metadata={"doc": "which headers tell the client what is left"}
    )
    max_clients: int = field(default=100_000, metadata={"doc": "clients remembered; beyond it the longest away goes"})
    policy: str = field(default="default", metadata={"doc": "the name of this limit in the headers"})

    #: Given by whoever builds it; the counts are kept under it.
    name: str = field(init=False, default="rate_limit")
    #: Counts; another one may be put here after `open`.
    limiter: Limiter = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if not (match := _is_key(self.key)):
            raise ValueError(f"key: {self.key!r} is not ip, user or header:NAME")
        if self.max_clients < 1:
            raise ValueError("max_clients: at least 1 is expected")
        if not _is_plain(self.policy):
            raise ValueError("policy: up to 64 letters, digits, dots, dashes and underscores are expected")
        self._header = match[1]
        self._by_address = self.key == "ip"
        ietf, legacy = self.headers in {"ietf", "both"}, self.headers in {"legacy", "both"}
        window = ceil(self.limit.window)
        self._fields = QuotaFields(self.policy, self.limit.limit, window, ietf=ietf, legacy=legacy)
        self.limiter = MemoryLimiter(self.max_clients)
        self._refused = 0

    def open(self, runtime: Runtime) -> None:
        self.limiter = runtime.limiter(self.name, self.max_clients)
        runtime.metrics.watch("gproxy_rate_limited_total", (self.name,), lambda: self._refused)

    def __call__(self, request: Request, next: Next) -> Response:  # noqa: A002
        key = network_of(request.client) if self._by_address else self._user_or_header(request)
        verdict = self.limiter.take(key, self.limit)
        if not verdict.admitted:
            self._refuse(verdict)
        response = next(request)
        # A 429 from further in says how that limit stands, which is the one the client ran into.
        if response.status != 429 or "retry-after" not in response.headers:
            self._fields.put(response.headers, verdict.remaining, verdict.wait or verdict.reset)
        return response

    def _user_or_header(self, request: Request) -> str:
        """The prefix keeps a user or header value that looks like an address apart from that address."""
        value = request.headers.get(self._header) if self._header else request.user
        if not value:
            return network_of(request.client)
        if len(value) > _LONGEST_KEY:
            return "#" + blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return "=" + value

    def _refuse(self, verdict: Verdict) -> NoReturn:
        self._refused += 1
        wait = max(1, ceil(verdict.wait))
        error = HTTPError(429, f"no more than {self.limit} are admitted; try again in {wait} s", reason="rate_limited")
        error.headers.put("Retry-After", "retry-after", str(wait))
        self._fields.put(error.headers, verdict.remaining, verdict.wait)
        raise error
