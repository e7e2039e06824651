"""Options of an upstream that admit or reject requests: the concurrency limit with its queue, the circuit breaker."""

from dataclasses import dataclass, field

from gproxy.config.ini.build import doc, option
from gproxy.config.record import Record
from gproxy.config.sections import rules
from gproxy.config.types import Percent, Seconds


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class QueueOptions(Record):
    """The limit of concurrent requests, and the queue before it."""

    max_requests: int = field(
        default=0,
        metadata=option("max_requests", "most concurrent requests of each worker to the upstream; 0: no limit"),
    )
    length: int = field(
        default=0,
        metadata=option(
            "queue", "most requests of each worker that wait for max_requests or max_connections; further ones get 503"
        ),
    )
    timeout: Seconds = field(default=Seconds(1), metadata=doc("longest wait in the queue; then 503"))

    def __post_init__(self) -> None:
        rules.raise_problems(
            rules.positive(self, "timeout"),
            rules.at_least(0, self, "max_requests", "length"),
        )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BreakerOptions(Record):
    """The circuit breaker."""

    enabled: bool = field(
        default=False, metadata=option("breaker", "whether a circuit breaker answers 503 while too many requests fail")
    )
    errors: Percent = field(default=Percent(0.5), metadata=doc("share of failed requests that opens the breaker"))
    latency: Seconds = field(
        default=Seconds(0), metadata=doc("latency at breaker_quantile that opens the breaker; 0s: off")
    )
    quantile: float = field(default=0.95, metadata=doc("share of requests that must be faster than breaker_latency"))
    window: Seconds = field(default=Seconds(10), metadata=doc("time window in which requests are counted"))
    requests: int = field(default=20, metadata=doc("fewest requests in the window that can open the breaker"))
    open: Seconds = field(
        default=Seconds(5),
        metadata=doc("time the breaker stays open, and then the time in which it admits a growing share"),
    )

    def __post_init__(self) -> None:
        rules.raise_problems(
            rules.positive(self, "errors", "window", "open"),
            rules.at_least(1, self, "requests"),
            rules.between(0, 1, self, "quantile"),
        )
