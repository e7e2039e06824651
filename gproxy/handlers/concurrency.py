"""Limit of the requests that each client has under way; requests above it get 429."""

from dataclasses import dataclass, field

from gproxy.config.types.units import plural
from gproxy.http.client_key import ClientKey
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.runtime import Runtime


@dataclass
class Concurrency:
    """Concurrency limit: admits `limit` requests per client at the same time, over all workers.

    A request counts until the last byte of its response, a tunnel until its end. Raises HTTPError 429 with Retry-After.
    """

    limit: int = field(metadata={"doc": "requests under way per client"})
    key: str = field(
        default="ip", metadata={"doc": "key that identifies a client: ip (IPv6: the /64), user, header:NAME"}
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
        self._key = ClientKey(self.key)
        if self.max_clients < 1:
            raise ValueError("max_clients: expected at least 1")
        self._rejected = 0

    def open(self, runtime: Runtime) -> None:
        self._requests = requests = runtime.concurrency(self.name, self.max_clients)
        #: Marks a request that counts: an outer handler may call the chain again.
        self._mark = f"concurrency:{self.name}"
        runtime.metrics.watch("gproxy_concurrency_limited_total", (self.name,), lambda: self._rejected)
        runtime.metrics.watch("gproxy_concurrency_uncounted_total", (self.name,), lambda: requests.uncounted)

    def __call__(self, request: Request, next: Next) -> Response:
        if self._mark not in request.context:
            leave = self._requests.enter(self._key.of(request), self.limit)
            if leave is None:
                self._rejected += 1
                detail = f"limit of {plural(self.limit, 'concurrent request')} exceeded"
                raise HTTPError(429, detail, {"Retry-After": "1"}, reason="concurrency_limited")
            request.context[self._mark] = True
            request.at_end(leave)
        return next(request)
