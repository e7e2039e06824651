"""The options of `[upstream:NAME]`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from gproxy.config.ini.build import NOT_AN_OPTION, doc, option_group
from gproxy.config.problems import OptionProblem
from gproxy.config.record import Record
from gproxy.config.sections import balance, retry, rules, upstream_tls
from gproxy.config.sections.admission import BreakerOptions, QueueOptions
from gproxy.config.sections.balance import Balance, StickyOptions
from gproxy.config.sections.health_check import EjectionOptions, HealthCheckOptions
from gproxy.config.sections.retry import RetryOptions
from gproxy.config.sections.upstream_tls import UpstreamTLSOptions
from gproxy.config.types import BackendURL, Bytes, ModuleRef, Seconds


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class UpstreamSettings(Record):
    """`[upstream:NAME]`: a group of backends, and how the gateway picks, retries and ejects them."""

    name: str = field(metadata=NOT_AN_OPTION)
    backends: tuple[BackendURL, ...] = field(
        metadata=doc(
            "http://HOST:PORT, https:// or unix:PATH, each with weight=N, max_connections=N, backup, down, drain"
        )
    )
    balance: Balance | ModuleRef = field(
        default="round_robin",
        metadata=doc("policy that picks a backend; MODULE:NAME: your own; or the name of an installed one"),
    )
    #: The live policy of `balance`, built while the settings are loaded; it has the other options of the section.
    policy: object = field(default=None, compare=False, repr=False, metadata=NOT_AN_OPTION)
    slow_start: Seconds = field(
        default=Seconds(0), metadata=doc("time in which a restored backend returns to its full share; 0s: at once")
    )
    sticky: StickyOptions = option_group(StickyOptions, prefix="sticky_")
    connect_timeout: Seconds = field(default=Seconds(1), metadata=doc("longest time to establish a connection"))
    first_byte_timeout: Seconds | None = field(
        default=None, metadata=doc("longest time until the response starts; none: read_timeout")
    )
    read_timeout: Seconds | None = field(
        default=None,
        metadata=doc("longest pause between two pieces of a response; none: the route's timeout"),
    )
    per_try_timeout: Seconds | None = field(
        default=None,
        metadata=doc("longest time of one attempt, from connecting to the response's head; none: no limit"),
    )
    http2: Literal["no", "yes", "auto"] = field(
        default="no",
        metadata=doc(
            "HTTP/2 to the backends; yes: by ALPN to https:// backends, by prior knowledge to others; auto: each "
            "https:// backend chooses"
        ),
    )
    http2_connections: int = field(default=8, metadata=doc("most HTTP/2 connections to each backend"))
    retry: RetryOptions = option_group(RetryOptions, prefix="retry_")
    buffer_request: Bytes = field(
        default=Bytes(64 * 1024),
        metadata=doc(
            "bytes of a request body, besides those of spool, that are collected before a backend is asked; 64KiB of "
            "them in memory, the rest on disk; 0: none"
        ),
    )
    buffer_response: Bytes = field(
        default=Bytes(256 * 1024),
        metadata=doc("bytes of a response that are read ahead while its client reads slowly; 0: none"),
    )
    deadline_header: str | None = field(
        default=None,
        metadata=doc("header that gives the backend the remaining milliseconds: X-Request-Timeout; none: off"),
    )
    max_connections: int = field(
        default=0, metadata=doc("most connections of each worker to each backend; 0: no limit")
    )
    keepalive: int = field(default=32, metadata=doc("most idle connections that each worker keeps for each backend"))
    idle_timeout: Seconds = field(
        default=Seconds(55),
        metadata=doc("longest time an idle connection is kept; shorter if the backend closes earlier"),
    )
    max_age: Seconds = field(
        default=Seconds(0), metadata=doc("greatest age at which a connection is reused; 0s: no limit")
    )
    dns_interval: Seconds = field(default=Seconds(10), metadata=doc("time between two look-ups of a backend's name"))
    host: str = field(
        default="client",
        metadata=doc("Host that backends get; client: the client's; backend: the backend's address; or a literal"),
    )
    tls: UpstreamTLSOptions = option_group(UpstreamTLSOptions, prefix="tls_")
    health: HealthCheckOptions = option_group(HealthCheckOptions, prefix="health_")
    ejection: EjectionOptions = option_group(EjectionOptions)
    queue: QueueOptions = option_group(QueueOptions, prefix="queue_")
    breaker: BreakerOptions = option_group(BreakerOptions, prefix="breaker_")

    def __post_init__(self) -> None:
        retry_header = (self.retry.header or "").lower()
        rules.raise_problems(
            rules.one_of_them(self, "backends"),
            rules.distinct(self, "backends"),
            rules.require(
                not self.backends or any(backend.weight for backend in self.backends), "backends", "every weight is 0"
            ),
            rules.at_least(0, self, "slow_start", "max_connections", "keepalive", "max_age"),
            rules.at_least(0, self, "buffer_request", "buffer_response"),
            rules.at_least(1, self, "http2_connections"),
            self._negotiation(),
            rules.positive(self, "connect_timeout", "first_byte_timeout", "read_timeout"),
            rules.positive(self, "per_try_timeout", "idle_timeout", "dns_interval"),
            balance.problems(self),
            retry.sent_header("deadline_header", self.deadline_header),
            rules.require(
                not retry_header or retry_header != (self.deadline_header or "").lower(),
                "deadline_header",
                "retry_header has the same name",
            ),
            rules.sent_host("host", self.host, "client, backend or "),
            rules.require(
                self.health.kind != "grpc" or self.http2 != "no", "health", "grpc needs http2 = yes or http2 = auto"
            ),
            upstream_tls.problems(self.tls, is_used=self.uses_tls or not self.backends),
            rules.require(
                self.queue.length <= 0 or self.is_limited,
                "queue",
                "nothing is limited; it needs max_requests or max_connections",
            ),
        )

    def _negotiation(self) -> Iterator[OptionProblem]:
        """Yield a problem if a plain backend were to negotiate the version of HTTP."""
        plain = next((backend for backend in self.backends if backend.scheme == "http"), None)
        if self.http2 == "auto" and plain is not None:
            yield ("http2",), f"{plain} cannot negotiate: it has no TLS; write yes (prior knowledge) or no"

    @property
    def uses_tls(self) -> bool:
        """True if any backend uses TLS."""
        return any(backend.scheme == "https" for backend in self.backends)

    @property
    def is_limited(self) -> bool:
        """True if an option limits concurrent requests or connections."""
        limits = (backend.max_connections for backend in self.backends)
        return bool(self.queue.max_requests or self.max_connections or any(limits))
