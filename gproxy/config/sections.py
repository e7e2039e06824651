"""The settings: a frozen dataclass for each kind of section, whose fields are its options.

The types are resolved at run time, so nothing here is imported for the type checker only. Times are seconds, sizes are
bytes, and a limit of 0 is no limit.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gproxy.config import rules
from gproxy.config.fields import doc
from gproxy.config.problems import Problem
from gproxy.config.read import RawSection, Value
from gproxy.config.routes import RouteSettings
from gproxy.config.state import StateSettings
from gproxy.config.tls import TLSSettings
from gproxy.config.types import Address, Bytes, Network, Rotate, Seconds, Workers
from gproxy.config.upstreams import UpstreamSettings


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """`[server]`: the process, its listeners, and what a client connection may do."""

    bind: tuple[Address, ...] = field(
        default=(Address("tcp", "0.0.0.0", 8080),), metadata=doc(
            "addresses to listen on, each with tls, tls=NAME (of [tls:NAME]), proxy (expects a PROXY header), redirect"
        ),
    )
    workers: Workers = field(default=1, metadata=doc("worker processes; auto: one per core"))
    worker_timeout: Seconds = field(
        default=Seconds(30), metadata=doc("a worker that hangs for so long is replaced; 0s: never")
    )
    grace: Seconds = field(default=Seconds(30), metadata=doc("how long a stop waits for requests in flight"))
    stop_delay: Seconds = field(
        default=Seconds(0), metadata=doc("how long a stop still accepts connections while /ready is 503 already")
    )
    reload: bool = field(default=False, metadata=doc("reload when the settings, or modules of yours, change"))
    head_timeout: Seconds = field(default=Seconds(10), metadata=doc("for a request's head to arrive"))
    body_timeout: Seconds = field(default=Seconds(30), metadata=doc("between two pieces of an upload"))
    idle_timeout: Seconds = field(default=Seconds(75), metadata=doc("for the next request on a kept-alive connection"))
    write_timeout: Seconds = field(default=Seconds(30), metadata=doc("for the client to take a piece of a response"))
    max_head: Bytes = field(default=Bytes(32 * 1024), metadata=doc("largest request head"))
    max_fields: int = field(default=100, metadata=doc("most header fields in a request"))
    max_body: Bytes = field(default=Bytes(0), metadata=doc("largest request body; 0: no limit"))
    max_connections: int = field(default=0, metadata=doc("most client connections of a worker at a time; 0: no limit"))
    max_connections_per_address: int = field(
        default=0, metadata=doc("most client connections of a worker from one address (or IPv6 /64); 0: no limit")
    )
    state_dir: Path = field(default=Path("var"), metadata=doc("where what outlives a restart is kept"))

    def __post_init__(self) -> None:
        rules.refuse(
            rules.one_of_them(self, "bind"),
            rules.distinct(self, "bind"),
            rules.at_least(1, self, "workers", "max_fields"),
            rules.positive(self, "head_timeout", "body_timeout", "idle_timeout", "write_timeout", "max_head"),
            rules.at_least(0, self, "max_connections", "max_connections_per_address"),
            ["worker_timeout: expected at least 1s, or 0s for never"] * (0 < self.worker_timeout < 1),
        )


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """`[gateway]`: what holds for every route."""

    handlers: tuple[str, ...] = field(
        default=(), metadata=doc("around every route; requests flow down this list, responses back up")
    )
    timeout: Seconds = field(
        default=Seconds(3), metadata=doc("the whole exchange with the backend, retries included; then 504")
    )
    trusted_proxies: tuple[Network, ...] = field(
        default=(), metadata=doc("whose X-Forwarded-For is believed, besides peers on a unix socket")
    )

    def __post_init__(self) -> None:
        rules.refuse(rules.positive(self, "timeout"), rules.distinct(self, "handlers", "trusted_proxies"))


@dataclass(frozen=True, slots=True)
class LogSettings:
    """`[log]`: where lines go, and for how long."""

    access: str = field(default="log/access.log", metadata=doc("a file, - for standard output, or off"))
    format: Literal["ltsv", "json", "combined"] = field(default="ltsv", metadata=doc("of the access lines"))
    rotate: Rotate = field(
        default=Rotate(daily=True, size=Bytes(10_000_000)),
        metadata=doc("daily, a size, whichever comes first, or never"),
    )
    keep: int = field(default=14, metadata=doc("rotated files kept"))
    compress: bool = field(default=False, metadata=doc("rotated files become .gz"))
    level: Literal["debug", "info", "warning", "error"] = field(default="info", metadata=doc("of the error log"))

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
    tls: dict[str, TLSSettings] = field(default_factory=dict)
    state: StateSettings = field(default_factory=StateSettings)

    def section(self, kind: str, name: str = "") -> RawSection:
        """The section as read; if the file does not have it, an empty one in its place."""
        found = (section for section in self.sections if (section.kind, section.name) == (kind, name))
        return next(found, RawSection(kind, name, str(self.path), 0))
