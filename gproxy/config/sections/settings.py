"""The settings: a frozen dataclass for each kind of section, whose fields are its options.

The types are resolved at run time, so nothing here is imported for the type checker only. Times are seconds, sizes are
bytes, and a limit of 0 is no limit.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gproxy.config.ini.build import doc
from gproxy.config.ini.parser import RawSection, Value
from gproxy.config.problems import Problem
from gproxy.config.sections import rules
from gproxy.config.sections.route import RouteSettings
from gproxy.config.sections.server import ServerSettings
from gproxy.config.sections.state import StateSettings
from gproxy.config.sections.tls import TLSSettings
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import Bytes, Network, Rotate, Seconds


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
        rules.raise_problems(rules.positive(self, "timeout"), rules.distinct(self, "handlers", "trusted_proxies"))


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
        rules.raise_problems(
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
