"""Limit of the requests that each client has under way; requests above it get 429."""

from collections.abc import Callable
from dataclasses import dataclass, field

from gproxy.config.types.units import plural
from gproxy.http.client_key import ClientKey
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.identity.tiers import Tier, Tiers
from gproxy.runtime import Runtime


@dataclass
class Concurrency:
    """Concurrency limit: admits `limit` requests per client at the same time, over all workers.

    A request counts until the last byte of its response, a tunnel until its end. With `tier` a claim of the identity
    selects the limit: it is the name of one of `tiers`, or a number itself. Raises HTTPError 429 with Retry-After.
    """

    limit: int = field(metadata={"doc": "requests under way per client"})
    key: str = field(
        default="ip",
        metadata={"doc": "key that identifies a client: ip (IPv6: the /64), user, claim:NAME, header:NAME"},
    )
    tier: str | None = field(
        default=None, metadata={"doc": "claim that names the tier of a client, or is its limit; none: limit for all"}
    )
    tiers: dict[str, int] = field(
        default_factory=dict, metadata={"doc": "limit of each tier, as in free: 5, pro: 50; others get limit"}
    )
    max_clients: int = field(
        default=10_000,
        metadata={"doc": "maximum number of clients with requests under way that are counted; others have no limit"},
    )

    #: The section's name, set by build.py; the workers keep the counts under it.
    name: str = field(init=False, default="concurrency")

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError."""
        if self.limit < 1:
            raise ValueError(f"limit: expected at least 1; found {self.limit}")
        if self.tiers and not self.tier:
            raise ValueError("tiers: needs tier, the claim that names the tier of a client")
        if low := next((name for name, limit in self.tiers.items() if limit < 1), ""):
            raise ValueError(f"tiers: {low}: expected at least 1; found {self.tiers[low]}")
        #: PERF: None without a tier, which decides at the start what a request costs.
        self._tiers = self._tiers_of(self.tier) if self.tier else None
        self._key = ClientKey(self.key)
        if self.max_clients < 1:
            raise ValueError("max_clients: expected at least 1")
        self._warn: Callable[..., None] | None = None
        self._rejected = 0

    def _tiers_of(self, claim: str) -> Tiers[int]:
        return Tiers(claim, self.limit, self.tiers, _claimed, report=self._warn_of_claim)

    def _warn_of_claim(self, problem: str) -> None:
        if self._warn is not None:
            self._warn(f"[handler:{self.name}] claims", "[handler:%s] tier: %s", self.name, problem)

    @property
    def needs_identity(self) -> bool:
        """Return whether the identity of a request decides under which key it counts, or its limit."""
        return self.tier is not None or self._key.is_of_identity

    def tier_of(self, request: Request) -> Tier[int]:
        """Return the tier of the request's client."""
        return self._tiers.of(request.identity) if self._tiers else Tier("", self.limit)

    def open(self, runtime: Runtime) -> None:
        self._warn = runtime.throttle.warn
        self._requests = requests = runtime.concurrency(self.name, self.max_clients)
        #: Marks a request that counts: an outer handler may call the chain again.
        self._mark = f"concurrency:{self.name}"
        runtime.metrics.watch("gproxy_concurrency_limited_total", (self.name,), lambda: self._rejected)
        runtime.metrics.watch("gproxy_concurrency_uncounted_total", (self.name,), lambda: requests.uncounted)

    def __call__(self, request: Request, next: Next) -> Response:
        if self._mark not in request.context:
            limit = self.limit if self._tiers is None else self._tiers.of(request.identity).limit
            leave = self._requests.enter(self._key.of(request), limit)
            if leave is None:
                self._rejected += 1
                detail = f"limit of {plural(limit, 'concurrent request')} exceeded"
                raise HTTPError(429, detail, {"Retry-After": "1"}, reason="concurrency_limited")
            request.context[self._mark] = True
            request.at_end(leave)
        return next(request)


def _claimed(text: str) -> int:
    """Return the limit in a claim. Raises ValueError for a text that is no number of requests."""
    if not text.isascii() or not text.isdigit() or not 0 < len(text) < 10 or int(text) < 1:
        raise ValueError("expected a number of requests")
    return int(text)
