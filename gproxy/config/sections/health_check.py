"""Options of an upstream for the health of its backends: probes, and ejections after failed requests."""

from dataclasses import dataclass, field
from typing import Literal

from gproxy.config.ini.build import doc, option
from gproxy.config.record import Record
from gproxy.config.sections import rules
from gproxy.config.types import BodyText, Seconds, Statuses
from gproxy.http.header_names import SET_BY_PROBE

#: The longest name of a service, in characters.
_LONGEST_SERVICE = 256

Initial = Literal["unknown", "up", "down"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class HealthCheckOptions(Record):
    """The active health check: probes of each backend."""

    kind: Literal["http", "grpc"] = field(
        default="http",
        metadata=option(
            "health", "kind of the probes; http: of health_path; grpc: grpc.health.v1 of health_service, needs http2"
        ),
    )
    service: str = field(
        default="", metadata=doc("gRPC service to check, with health = grpc; empty: the server as a whole")
    )
    path: str | None = field(default=None, metadata=doc("path to probe; none: no probes"))
    interval: Seconds = field(default=Seconds(10), metadata=doc("time between two probes, with 10 % jitter"))
    timeout: Seconds = field(default=Seconds(1), metadata=doc("longest time of a probe, its response included"))
    status: tuple[Statuses, ...] = field(
        default=(Statuses(200, 399),), metadata=doc("statuses of a successful probe; redirects are not followed")
    )
    body: BodyText | None = field(
        default=None,
        metadata=doc("text that the first 64 KiB of a successful probe's response must contain; none: any"),
    )
    host: str | None = field(
        default=None, metadata=doc("Host of a probe; none: the value of host, or the backend's address")
    )
    headers: dict[str, str] = field(default_factory=dict, metadata=doc("additional headers of a probe"))
    initial: Initial = field(
        default="unknown",
        metadata=option(
            "initial",
            "state before the first probe; unknown, up: in rotation; down: out of rotation until a probe succeeds",
        ),
    )
    rise: int = field(default=2, metadata=option("rise", "consecutive successful probes that restore a backend"))
    fall: int = field(default=3, metadata=option("fall", "consecutive failed probes that mark a backend as unhealthy"))

    def __post_init__(self) -> None:
        rules.raise_problems(
            rules.positive(self, "interval", "timeout"),
            rules.at_least(1, self, "rise", "fall"),
            rules.probe_path("path", self.path),
            rules.one_of_them(self, "status"),
            rules.require(
                self.service.isprintable() and len(self.service) <= _LONGEST_SERVICE,
                "service",
                "expected the name of a service, such as package.Service",
            ),
            rules.sent_host("host", self.host),
            rules.own_headers("headers", self.headers, reserved=SET_BY_PROBE),
            rules.distinct(self, "headers", fold=True),
            rules.require(
                self.initial != "down" or self.sends_probes,
                "initial",
                "down needs a health_path or health = grpc, or nothing would ever bring a backend up",
            ),
        )

    @property
    def sends_probes(self) -> bool:
        """True if backends are probed."""
        return self.kind == "grpc" or self.path is not None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EjectionOptions(Record):
    """The passive health check: failed requests eject a backend for a time."""

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

    def __post_init__(self) -> None:
        rules.raise_problems(
            rules.positive(self, "fail_window", "eject_time"),
            rules.at_least(0, self, "max_fails"),
        )
