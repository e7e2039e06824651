"""The options of `[upstream:NAME]`."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from gproxy.config.ini.build import NOT_AN_OPTION, doc
from gproxy.config.sections import retry, rules, upstream_tls
from gproxy.config.sections.balance import Balance, Choice, SameSite, balancing
from gproxy.config.sections.retry import RetryOn
from gproxy.config.sections.upstream_tls import TLSVersion
from gproxy.config.types import BackendURL, BodyText, Bytes, ModuleRef, Percent, Seconds, Secret, Statuses
from gproxy.http.header_names import SET_BY_PROBE

Initial = Literal["unknown", "up", "down"]


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """`[upstream:NAME]`: a group of backends, and how the gateway picks, retries and ejects them."""

    name: str = field(metadata=NOT_AN_OPTION)
    backends: tuple[BackendURL, ...] = field(
        metadata=doc(
            "http://HOST:PORT, https:// or unix:PATH, each with weight=N, max_connections=N, backup, down, drain"
        )
    )
    balance: Balance | ModuleRef = field(
        default="round_robin", metadata=doc("policy that picks a backend; MODULE:NAME: a policy of your own")
    )
    #: The live policy of `balance`, built while the settings are loaded.
    policy: object = field(default=None, compare=False, repr=False, metadata=NOT_AN_OPTION)
    hash_key: str | None = field(
        default=None, metadata=doc("header, cookie or parameter to hash, for header_hash, cookie_hash, query_hash")
    )
    latency_decay: Seconds = field(default=Seconds(10), metadata=doc("balance = latency: time constant of the average"))
    slow_start: Seconds = field(
        default=Seconds(0), metadata=doc("time in which a restored backend returns to its full share; 0s: at once")
    )
    sticky_cookie: str | None = field(
        default=None, metadata=doc("name of the cookie of balance = sticky; none: sticky_NAME")
    )
    sticky_fallback: Choice = field(
        default="round_robin", metadata=doc("policy for clients without the cookie, or whose backend is unavailable")
    )
    sticky_ttl: Seconds | None = field(
        default=None, metadata=doc("Max-Age of the cookie; none: until the browser closes")
    )
    sticky_same_site: SameSite = field(default="Lax", metadata=doc("SameSite of the cookie"))
    sticky_secure: Literal["auto", "yes", "no"] = field(
        default="auto", metadata=doc("whether the cookie has Secure; auto: if the client uses https")
    )
    sticky_secret: Secret | None = field(
        default=None,
        metadata=doc("secret that the cookie is derived from; none or auto: generated and kept in [server] state_dir"),
    )
    connect_timeout: Seconds = field(default=Seconds(1), metadata=doc("longest time to establish a connection"))
    first_byte_timeout: Seconds | None = field(
        default=None, metadata=doc("longest time until the response starts; none: read_timeout")
    )
    read_timeout: Seconds | None = field(
        default=None,
        metadata=doc("longest pause between two parts of a response; none: no limit"),
    )
    per_try_timeout: Seconds | None = field(
        default=None,
        metadata=doc("longest time of one attempt, from connecting to the response's head; none: no limit"),
    )
    retries: int = field(default=1, metadata=doc("most attempts after the first one, where a retry is safe"))
    retry_on: tuple[RetryOn, ...] = field(
        default=retry.DEFAULT_ON,
        metadata=doc(
            "failures to retry besides connect, which always is: stale, reset, timeout, and statuses such as 503"
        ),
    )
    retry_methods: tuple[str, ...] = field(
        default=retry.IDEMPOTENT,
        metadata=doc("methods that may be retried; requests with Idempotency-Key always may"),
    )
    retry_backoff: Seconds = field(
        default=Seconds(0.025),
        metadata=doc("longest pause before the first retry; each further pause is twice as long"),
    )
    retry_backoff_max: Seconds = field(default=Seconds(0.25), metadata=doc("longest pause before any retry"))
    retry_after: bool = field(
        default=False,
        metadata=doc("pause as long as the response's Retry-After asks; no retry if the deadline comes first"),
    )
    retry_budget: Percent | None = field(
        default=Percent(0.2),
        metadata=doc("most concurrent retries, as a share of active requests; 3 are always allowed; none: no limit"),
    )
    retry_header: str | None = field(
        default=None,
        metadata=doc("header that gives the backend the number of earlier attempts: X-Retry-Count; none: off"),
    )
    replay: Bytes = field(default=Bytes(64 * 1024), metadata=doc("bytes of a request body kept in memory for a retry"))
    spool: Bytes = field(default=Bytes(0), metadata=doc("further bytes kept on disk; a longer body is not retried"))
    hedge: Seconds = field(
        default=Seconds(0),
        metadata=doc(
            "wait before a second attempt starts at another backend, for idempotent requests without a body; 0s: off"
        ),
    )
    deadline_header: str | None = field(
        default=None,
        metadata=doc("header that gives the backend the remaining milliseconds: X-Request-Timeout; none: off"),
    )
    max_connections: int = field(default=0, metadata=doc("most connections to each backend; 0: no limit"))
    keepalive: int = field(default=32, metadata=doc("most idle connections kept for each backend"))
    idle_timeout: Seconds = field(default=Seconds(55), metadata=doc("longest time an idle connection is kept"))
    max_age: Seconds = field(
        default=Seconds(0), metadata=doc("greatest age at which a connection is reused; 0s: no limit")
    )
    dns_interval: Seconds = field(default=Seconds(10), metadata=doc("time between two look-ups of a backend's name"))
    host: str = field(
        default="client",
        metadata=doc("Host that backends get; client: the client's; backend: the backend's address; or a literal"),
    )
    tls_ca: Path | None = field(
        default=None,
        metadata=doc("PEM file of the authorities that must sign https:// backends' certificates; none: the system's"),
    )
    tls_name: str | None = field(
        default=None, metadata=doc("server name to send (SNI) and to verify; none: the host of the URL")
    )
    tls_cert: Path | None = field(
        default=None,
        metadata=doc("PEM file of the gateway's certificate, for backends that require one; none: no certificate"),
    )
    tls_key: Path | None = field(
        default=None, metadata=doc("PEM file of its private key; none: in the certificate's file")
    )
    tls_verify: bool = field(default=True, metadata=doc("whether backends' certificates are verified; no is dangerous"))
    tls_min_version: TLSVersion = field(default="1.2", metadata=doc("lowest TLS version"))
    health_path: str | None = field(default=None, metadata=doc("path to probe; none: no probes"))
    health_interval: Seconds = field(default=Seconds(10), metadata=doc("time between two probes, with 10 % jitter"))
    health_timeout: Seconds = field(default=Seconds(1), metadata=doc("longest time of a probe, its response included"))
    health_status: tuple[Statuses, ...] = field(
        default=(Statuses(200, 399),), metadata=doc("statuses of a successful probe; redirects are not followed")
    )
    health_body: BodyText | None = field(
        default=None,
        metadata=doc("text that the first 64 KiB of a successful probe's response must contain; none: any"),
    )
    health_host: str | None = field(
        default=None, metadata=doc("Host of a probe; none: the value of host, or the backend's address")
    )
    health_headers: dict[str, str] = field(default_factory=dict, metadata=doc("additional headers of a probe"))
    initial: Initial = field(
        default="unknown",
        metadata=doc(
            "state before the first probe; unknown, up: in rotation; down: out of rotation until a probe succeeds"
        ),
    )
    rise: int = field(default=2, metadata=doc("consecutive successful probes that restore a backend"))
    fall: int = field(default=3, metadata=doc("consecutive failed probes that mark a backend as unhealthy"))
    max_fails: int = field(default=3, metadata=doc("failed requests within fail_window that eject a backend; 0: off"))
    fail_window: Seconds = field(default=Seconds(10), metadata=doc("time window in which failed requests are counted"))
    fail_statuses: tuple[Statuses, ...] = field(
        default=(Statuses(502, 504),),
        metadata=doc("response statuses that count as failures; the client still gets the response"),
    )
    eject_time: Seconds = field(
        default=Seconds(5),
        metadata=doc("duration of the first ejection; the n-th in a row lasts n times as long, at most 60s"),
    )
    max_requests: int = field(default=0, metadata=doc("most concurrent requests to the whole upstream; 0: no limit"))
    queue: int = field(
        default=0, metadata=doc("most requests that wait for max_requests or max_connections; further ones get 503")
    )
    queue_timeout: Seconds = field(default=Seconds(1), metadata=doc("longest wait in the queue; then 503"))
    breaker: bool = field(
        default=False, metadata=doc("whether a circuit breaker answers 503 while too many requests fail")
    )
    breaker_errors: Percent = field(
        default=Percent(0.5), metadata=doc("share of failed requests that opens the breaker")
    )
    breaker_latency: Seconds = field(
        default=Seconds(0), metadata=doc("latency at breaker_quantile that opens the breaker; 0s: off")
    )
    breaker_quantile: float = field(
        default=0.95, metadata=doc("share of requests that must be faster than breaker_latency")
    )
    breaker_window: Seconds = field(default=Seconds(10), metadata=doc("time window in which requests are counted"))
    breaker_requests: int = field(default=20, metadata=doc("fewest requests in the window that can open the breaker"))
    breaker_open: Seconds = field(
        default=Seconds(5),
        metadata=doc("time the breaker stays open, and then the time in which it admits a growing share"),
    )

    def __post_init__(self) -> None:
        rules.raise_problems(
            rules.one_of_them(self, "backends"),
            rules.distinct(self, "backends"),
            ["backends: every weight is 0"] * bool(self.backends and not any(b.weight for b in self.backends)),
            rules.positive(self, "connect_timeout", "first_byte_timeout", "read_timeout", "idle_timeout"),
            rules.at_least(0, self, "slow_start"),
            rules.positive(self, "latency_decay", "sticky_ttl"),
            balancing(self, {field.name: field.default for field in fields(self)}),
            rules.positive(self, "health_interval", "health_timeout", "fail_window", "eject_time", "queue_timeout"),
            rules.positive(self, "dns_interval"),
            rules.positive(self, "breaker_errors", "breaker_window", "breaker_open"),
            retry.problems(self),
            rules.at_least(0, self, "max_connections", "keepalive", "max_age", "max_fails", "max_requests", "queue"),
            rules.at_least(1, self, "rise", "fall", "breaker_requests"),
            rules.between(0, 1, self, "breaker_quantile"),
            rules.sent_host("host", self.host, "client, backend or "),
            rules.tls_name("tls_name", self.tls_name),
            upstream_tls.problems(self),
            rules.probe_path("health_path", self.health_path),
            rules.one_of_them(self, "health_status"),
            rules.sent_host("health_host", self.health_host),
            rules.own_headers("health_headers", self.health_headers, reserved=SET_BY_PROBE),
            rules.distinct(self, "health_headers", fold=True),
            ["initial: down needs a health_path, or nothing would ever bring a backend up"]
            * (self.initial == "down" and self.health_path is None),
            ["queue: nothing is limited; it needs max_requests or max_connections"]
            * (self.queue > 0 and not self.is_limited),
        )

    @property
    def is_limited(self) -> bool:
        """True if an option limits concurrent requests or connections."""
        return bool(self.max_requests or self.max_connections or any(b.max_connections for b in self.backends))
