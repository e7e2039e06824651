"""The options of `[upstream:NAME]`."""

from dataclasses import dataclass, field
from typing import Literal

from gproxy.config import rules
from gproxy.config.fields import NAME, doc
from gproxy.config.types import BackendURL, Seconds

Balance = Literal["round_robin", "weighted", "least_conn", "p2c", "random", "first", "ip_hash", "uri_hash"]


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """`[upstream:NAME]`: a group of backends, how one is picked and when one is given up."""

    name: str = field(metadata=NAME)
    backends: tuple[BackendURL, ...] = field(
        metadata=doc("http://HOST:PORT or https://, each with weight=N, max_connections=N, backup, down")
    )
    balance: Balance = field(default="round_robin", metadata=doc("how a backend is picked"))
    connect_timeout: Seconds = field(default=Seconds(1), metadata=doc("for a connection to be made"))
    first_byte_timeout: Seconds | None = field(default=None, metadata=doc("for the response to start"))
    read_timeout: Seconds | None = field(default=None, metadata=doc("between two pieces of the response"))
    retries: int = field(default=1, metadata=doc("further attempts, where it is safe"))
    max_connections: int = field(default=0, metadata=doc("most connections to each backend; 0: no limit"))
    keepalive: int = field(default=32, metadata=doc("idle connections kept for each backend"))
    idle_timeout: Seconds = field(default=Seconds(55), metadata=doc("how long an idle one is kept"))
    host: str = field(
        default="client", metadata=doc("Host as sent on: client: as it came; backend: its address; or a literal")
    )
    health_path: str | None = field(default=None, metadata=doc("path to probe; none: no probes"))
    health_interval: Seconds = field(default=Seconds(10), metadata=doc("between two probes"))
    health_timeout: Seconds = field(default=Seconds(1), metadata=doc("for a probe's answer"))
    rise: int = field(default=2, metadata=doc("good probes in a row that bring a backend back"))
    fall: int = field(default=3, metadata=doc("bad probes in a row that take it out"))
    max_fails: int = field(default=3, metadata=doc("failed requests within fail_window that take it out; 0: off"))
    fail_window: Seconds = field(default=Seconds(10), metadata=doc("the time in which they are counted"))

    def __post_init__(self) -> None:
        rules.refuse(
            rules.one_of_them(self, "backends"),
            rules.distinct(self, "backends"),
            ["backends: every weight is 0"] * bool(self.backends and not any(b.weight for b in self.backends)),
            rules.positive(self, "connect_timeout", "first_byte_timeout", "read_timeout", "idle_timeout"),
            rules.positive(self, "health_interval", "health_timeout", "fail_window"),
            rules.at_least(0, self, "retries", "max_connections", "keepalive", "max_fails"),
            rules.at_least(1, self, "rise", "fall"),
            rules.sent_host("host", self.host),
            rules.probe_path("health_path", self.health_path),
        )
