"""The options of `[upstream:NAME]`."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from gproxy.config.ini.build import NAME, doc
from gproxy.config.sections import retry, rules, upstream_tls
from gproxy.config.sections.balance import Balance, Choice, SameSite, balancing
from gproxy.config.sections.retry import RetryOn
from gproxy.config.sections.upstream_tls import TLSVersion
from gproxy.config.types import BackendURL, BodyText, Bytes, ModuleRef, Percent, Seconds, Secret, Statuses
from gproxy.http.header_names import SET_BY_PROBE

Initial = Literal["unknown", "up", "down"]


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """`[upstream:NAME]`: a group of backends, how one is picked and when one is given up."""

    name: str = field(metadata=NAME)
    backends: tuple[BackendURL, ...] = field(
        metadata=doc(
            "http://HOST:PORT, https:// or unix:PATH, each with weight=N, max_connections=N, backup, down, drain"
        )
    )
    balance: Balance | ModuleRef = field(
        default="round_robin", metadata=doc("how a backend is picked; MODULE:NAME: as your own code says")
    )
    hash_key: str | None = field(
        default=None, metadata=doc("for header_hash, cookie_hash, query_hash: which header, cookie or parameter")
    )
    latency_decay: Seconds = field(
        default=Seconds(10), metadata=doc("for latency: in which a slow answer is forgotten to a third")
    )
    slow_start: Seconds = field(
        default=Seconds(0), metadata=doc("in which a backend that came back gets its full share; 0s: at once")
    )
    sticky_cookie: str | None = field(default=None, metadata=doc("the cookie of balance = sticky; none: sticky_NAME"))
    sticky_fallback: Choice = field(
        default="round_robin", metadata=doc("for clients without the cookie, or whose backend is gone")
    )
    sticky_ttl: Seconds | None = field(
        default=None, metadata=doc("Max-Age of the cookie; none: as long as the browser")
    )
    sticky_same_site: SameSite = field(default="Lax", metadata=doc("SameSite of the cookie"))
    sticky_secure: Literal["auto", "yes", "no"] = field(
        default="auto", metadata=doc("Secure in the cookie; auto: if the client came over https")
    )
    sticky_secret: Secret | None = field(
        default=None, metadata=doc("what the cookie is made with; none or auto: made and kept in [server] state_dir")
    )
    connect_timeout: Seconds = field(default=Seconds(1), metadata=doc("for a connection to be made"))
    first_byte_timeout: Seconds | None = field(default=None, metadata=doc("for the response to start"))
    read_timeout: Seconds | None = field(
        default=None,
        metadata=doc("between two pieces of the response; for its first one too, if first_byte_timeout is none"),
    )
    per_try_timeout: Seconds | None = field(
        default=None, metadata=doc("one attempt, from connecting to the response's head")
    )
    retries: int = field(default=1, metadata=doc("further attempts, where it is safe"))
    retry_on: tuple[RetryOn, ...] = field(
        default=retry.DEFAULT_ON,
        metadata=doc("after what, besides connect, which always is: stale, reset, timeout, and statuses such as 503"),
    )
    retry_methods: tuple[str, ...] = field(
        default=retry.IDEMPOTENT,
        metadata=doc("what may be done twice; requests with an Idempotency-Key may in any case"),
    )
    retry_backoff: Seconds = field(
        default=Seconds(0.025), metadata=doc("before the first retry at most, then twice as long each time")
    )
    retry_backoff_max: Seconds = field(default=Seconds(0.25), metadata=doc("no pause is longer"))
    retry_after: bool = field(
        default=False, metadata=doc("pause as long as the answer's Retry-After says; not at all if time is short")
    )
    retry_budget: Percent | None = field(
        default=Percent(0.2),
        metadata=doc("retries at a time, of all requests under way; 3 are always allowed; none: no limit"),
    )
    retry_header: str | None = field(
        default=None, metadata=doc("tells the backend how many attempts there were before: X-Retry-Count")
    )
    replay: Bytes = field(default=Bytes(64 * 1024), metadata=doc("how much of a body is kept in memory for a retry"))
    spool: Bytes = field(default=Bytes(0), metadata=doc("how much beyond that on disk; with a longer one: no retry"))
    hedge: Seconds = field(
        default=Seconds(0),
        metadata=doc(
            "how long until another backend is asked too, if a request has no body and may be done twice; 0s: off"
        ),
    )
    deadline_header: str | None = field(
        default=None, metadata=doc("tells the backend the milliseconds that are left: X-Request-Timeout")
    )
    max_connections: int = field(default=0, metadata=doc("most connections to each backend; 0: no limit"))
    keepalive: int = field(default=32, metadata=doc("idle connections kept for each backend"))
    idle_timeout: Seconds = field(default=Seconds(55), metadata=doc("how long an idle one is kept"))
    max_age: Seconds = field(
        default=Seconds(0), metadata=doc("how old a connection may be to be used again; 0: no limit")
    )
    dns_interval: Seconds = field(default=Seconds(10), metadata=doc("between two look-ups of a backend's name"))
    host: str = field(
        default="client", metadata=doc("Host as sent on: client: as it came; backend: its address; or a literal")
    )
    tls_ca: Path | None = field(
        default=None, metadata=doc("certificates that https:// backends must be signed by; none: the system's")
    )
    tls_name: str | None = field(
        default=None, metadata=doc("name to ask for (SNI) and to verify; none: the host of the URL")
    )
    tls_cert: Path | None = field(default=None, metadata=doc("our own certificate, for backends that ask for one"))
    tls_key: Path | None = field(default=None, metadata=doc("its key; none: it is in the same file"))
    tls_verify: bool = field(default=True, metadata=doc("whether certificates must be valid; no is dangerous"))
    tls_min_version: TLSVersion = field(default="1.2", metadata=doc("oldest version of TLS"))
    health_path: str | None = field(default=None, metadata=doc("path to probe; none: no probes"))
    health_interval: Seconds = field(default=Seconds(10), metadata=doc("between two probes, 10 % more or less"))
    health_timeout: Seconds = field(default=Seconds(1), metadata=doc("for a probe and all of its answer"))
    health_status: tuple[Statuses, ...] = field(
        default=(Statuses(200, 399),), metadata=doc("what a good probe is answered with; redirects are not followed")
    )
    health_body: BodyText | None = field(
        default=None, metadata=doc("must be in the first 64 KiB of a good probe's answer; none: anything")
    )
    health_host: str | None = field(default=None, metadata=doc("a probe's Host; none: host, or the backend's address"))
    health_headers: dict[str, str] = field(default_factory=dict, metadata=doc("further headers of a probe"))
    initial: Initial = field(
        default="unknown",
        metadata=doc("before the first probe; unknown, up: requests go there; down: only once a probe was good"),
    )
    rise: int = field(default=2, metadata=doc("good probes in a row that bring a backend back"))
    fall: int = field(default=3, metadata=doc("bad probes in a row that take it out"))
    max_fails: int = field(default=3, metadata=doc("failed requests within fail_window that take it out; 0: off"))
    fail_window: Seconds = field(default=Seconds(10), metadata=doc("the time in which they are counted"))
    fail_statuses: tuple[Statuses, ...] = field(
        default=(Statuses(502, 504),), metadata=doc("answers that count as failed; the client still gets them")
    )
    eject_time: Seconds = field(
        default=Seconds(5), metadata=doc("how long it is left out, the n-th time n times as long, up to 60s")
    )
    max_requests: int = field(default=0, metadata=doc("most requests under way to all of them; 0: no limit"))
    queue: int = field(default=0, metadata=doc("how many may wait for max_requests or max_connections; then 503"))
    queue_timeout: Seconds = field(default=Seconds(1), metadata=doc("how long they wait; then 503"))
    breaker: bool = field(default=False, metadata=doc("answer 503 for a while instead of asking failing backends"))
    breaker_errors: Percent = field(default=Percent(0.5), metadata=doc("failed requests that open it"))
    breaker_latency: Seconds = field(
        default=Seconds(0), metadata=doc("a latency, at breaker_quantile, above which it opens; 0s: none")
    )
    breaker_quantile: float = field(default=0.95, metadata=doc("the part of all requests that must be faster"))
    breaker_window: Seconds = field(default=Seconds(10), metadata=doc("the time in which requests are counted"))
    breaker_requests: int = field(default=20, metadata=doc("how many there must be"))
    breaker_open: Seconds = field(
        default=Seconds(5), metadata=doc("how long it stays open, and then how long a growing share is let through")
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
        """Can there be too many requests at once?"""
        return bool(self.max_requests or self.max_connections or any(b.max_connections for b in self.backends))
