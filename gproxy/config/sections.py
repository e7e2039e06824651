"""The settings: a frozen dataclass for each kind of section, whose fields are its options.

The types are resolved at run time, so nothing here is imported for the type checker only. Times are seconds, sizes are
bytes, and a limit of 0 is no limit.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gproxy.config import rules
from gproxy.config.problems import Problem
from gproxy.config.read import RawSection, Value
from gproxy.config.types import Address, BackendURL, Bytes, Network, Rotate, Seconds, Workers

Balance = Literal["round_robin", "weighted", "least_conn", "p2c", "random", "first", "ip_hash", "uri_hash"]

_NAME: dict[str, Any] = {"ini": False}


def _doc(text: str) -> dict[str, Any]:
    return {"doc": text}


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """`[server]`: the process, its listeners, and what a client connection may do."""

    bind: tuple[Address, ...] = field(
        default=(Address("tcp", "0.0.0.0", 8080),), metadata=_doc("addresses to listen on")
    )
    workers: Workers = field(default=1, metadata=_doc("worker processes; auto: one per core"))
    grace: Seconds = field(default=Seconds(30), metadata=_doc("how long a stop waits for requests in flight"))
    head_timeout: Seconds = field(default=Seconds(10), metadata=_doc("for a request's head to arrive"))
    body_timeout: Seconds = field(default=Seconds(30), metadata=_doc("between two pieces of an upload"))
    idle_timeout: Seconds = field(default=Seconds(75), metadata=_doc("for the next request on a kept-alive connection"))
    write_timeout: Seconds = field(default=Seconds(30), metadata=_doc("for the client to take a piece of a response"))
    max_head: Bytes = field(default=Bytes(32 * 1024), metadata=_doc("largest request head"))
    max_fields: int = field(default=100, metadata=_doc("most header fields in a request"))
    max_body: Bytes = field(default=Bytes(0), metadata=_doc("largest request body; 0: no limit"))
    max_connections: int = field(default=0, metadata=_doc("most client connections at a time; 0: no limit"))
    max_connections_per_address: int = field(
        default=0, metadata=_doc("most client connections from one address at a time; 0: no limit")
    )
    state_dir: Path = field(default=Path("var"), metadata=_doc("where what outlives a restart is kept"))

    def __post_init__(self) -> None:
        rules.refuse(
            rules.one_of_them(self, "bind"),
            rules.distinct(self, "bind"),
            rules.at_least(1, self, "workers", "max_fields"),
            rules.positive(self, "head_timeout", "body_timeout", "idle_timeout", "write_timeout", "max_head"),
            rules.at_least(0, self, "max_connections", "max_connections_per_address"),
        )


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """`[gateway]`: what holds for every route."""

    handlers: tuple[str, ...] = field(
        default=(), metadata=_doc("around every route; requests flow down this list, responses back up")
    )
    timeout: Seconds = field(
        default=Seconds(3), metadata=_doc("the whole exchange with the backend, retries included; then 504")
    )
    trusted_proxies: tuple[Network, ...] = field(
        default=(), metadata=_doc("whose X-Forwarded-For is believed, besides peers on a unix socket")
    )

    def __post_init__(self) -> None:
        rules.refuse(rules.positive(self, "timeout"), rules.distinct(self, "handlers", "trusted_proxies"))


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """`[route:NAME]`: which requests it takes and where they go. A timeout of None is the gateway's."""

    name: str = field(metadata=_NAME)
    upstream: str = field(metadata=_doc("the [upstream:NAME] that answers"))
    path: str = field(default="/", metadata=_doc("this path and everything below it"))
    handlers: tuple[str, ...] = field(default=(), metadata=_doc("around this route, inside the gateway's own"))
    skip: tuple[str, ...] = field(default=(), metadata=_doc("handlers of the gateway that do not run here"))
    timeout: Seconds | None = field(default=None, metadata=_doc("the whole exchange; none: as in [gateway]"))
    stream: bool = field(
        default=False,
        metadata=_doc("timeout holds until the response's head only, then the upstream's read_timeout"),
    )
    methods: tuple[str, ...] = field(default=(), metadata=_doc("only these methods; none: all"))
    host: tuple[str, ...] = field(default=(), metadata=_doc("only these host names; none: all"))
    headers: dict[str, str] = field(default_factory=dict, metadata=_doc("only requests with these headers"))
    tunnel_timeout: Seconds = field(
        default=Seconds(3600), metadata=_doc("how long a WebSocket may be idle; its own limit in place of timeout")
    )
    strip_prefix: bool = field(default=False, metadata=_doc("path is taken off before the request is passed on"))
    keep: tuple[str, ...] = field(default=(), metadata=_doc("headers passed on that are removed elsewhere"))

    def __post_init__(self) -> None:
        rules.refuse(
            rules.route_path("path", self.path),
            rules.positive(self, "timeout", "tunnel_timeout"),
            rules.methods("methods", self.methods),
            rules.hosts("host", self.host),
            rules.header_names("headers", self.headers),
            rules.header_names("keep", self.keep),
            rules.distinct(self, "handlers", "skip", "methods"),
            rules.distinct(self, "host", "headers", "keep", fold=True),
        )


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """`[upstream:NAME]`: a group of backends, how one is picked and when one is given up."""

    name: str = field(metadata=_NAME)
    backends: tuple[BackendURL, ...] = field(
        metadata=_doc("http://HOST:PORT or https://, each with weight=N, max_connections=N, backup, down")
    )
    balance: Balance = field(default="round_robin", metadata=_doc("how a backend is picked"))
    connect_timeout: Seconds = field(default=Seconds(1), metadata=_doc("for a connection to be made"))
    first_byte_timeout: Seconds | None = field(default=None, metadata=_doc("for the response to start"))
    read_timeout: Seconds | None = field(default=None, metadata=_doc("between two pieces of the response"))
    retries: int = field(default=1, metadata=_doc("further attempts, where it is safe"))
    max_connections: int = field(default=0, metadata=_doc("most connections to each backend; 0: no limit"))
    keepalive: int = field(default=32, metadata=_doc("idle connections kept for each backend"))
    idle_timeout: Seconds = field(default=Seconds(55), metadata=_doc("how long an idle one is kept"))
    host: str = field(
        default="client", metadata=_doc("Host as sent on: client: as it came; backend: its address; or a literal")
    )
    health_path: str | None = field(default=None, metadata=_doc("path to probe; none: no probes"))
    health_interval: Seconds = field(default=Seconds(10), metadata=_doc("between two probes"))
    health_timeout: Seconds = field(default=Seconds(1), metadata=_doc("for a probe's answer"))
    rise: int = field(default=2, metadata=_doc("good probes in a row that bring a backend back"))
    fall: int = field(default=3, metadata=_doc("bad probes in a row that take it out"))
    max_fails: int = field(default=3, metadata=_doc("failed requests within fail_window that take it out; 0: off"))
    fail_window: Seconds = field(default=Seconds(10), metadata=_doc("the time in which they are counted"))

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


@dataclass(frozen=True, slots=True)
class LogSettings:
    """`[log]`: where lines go, and for how long."""

    access: str = field(default="log/access.log", metadata=_doc("a file, - for standard output, or off"))
    format: Literal["ltsv", "json", "combined"] = field(default="ltsv", metadata=_doc("of the access lines"))
    rotate: Rotate = field(
        default=Rotate(daily=True, size=Bytes(10_000_000)),
        metadata=_doc("daily, a size, whichever comes first, or never"),
    )
    keep: int = field(default=14, metadata=_doc("rotated files kept"))
    level: Literal["debug", "info", "warning", "error"] = field(default="info", metadata=_doc("of the error log"))

    def __post_init__(self) -> None:
        rules.refuse(
            rules.at_least(0, self, "keep"),
            ["access: expected a file, - for standard output, or off"] * (not self.access),
        )


@dataclass(frozen=True, slots=True)
class HandlerSettings:
    """`[handler:NAME]`: `use` is a built-in's name or MODULE:NAME; `options` are for the fields of what that names."""

    name: str
    use: str
    options: dict[str, Value]
    section: RawSection


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the file at `path` says, checked. `handlers` has each one that is declared or listed anywhere.

    `warnings` are no reason not to serve; `sections` are as read, for the places of problems found later.
    """

    path: Path
    server: ServerSettings
    gateway: GatewaySettings
    routes: tuple[RouteSettings, ...]
    upstreams: dict[str, UpstreamSettings]
    handlers: dict[str, HandlerSettings]
    log: LogSettings
    warnings: tuple[Problem, ...]
    sections: tuple[RawSection, ...]

    def section(self, kind: str, name: str = "") -> RawSection:
        """The section as read; if the file does not have it, an empty one in its place."""
        found = (section for section in self.sections if (section.kind, section.name) == (kind, name))
        return next(found, RawSection(kind, name, str(self.path), 0))
