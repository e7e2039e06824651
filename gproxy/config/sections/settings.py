"""The settings: a frozen dataclass for each kind of section, with its options as fields.

The field types are resolved at run time, so no import is for the type checker only. Times are in seconds, sizes in
bytes. A limit of 0 means no limit.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from gproxy.config import hints
from gproxy.config.ini.build import doc, option_names
from gproxy.config.ini.parser import RawSection, Value
from gproxy.config.problems import Problem
from gproxy.config.record import Record
from gproxy.config.sections import rules
from gproxy.config.sections.admin import AdminSettings
from gproxy.config.sections.chain import ChainOptions, Mode
from gproxy.config.sections.errors import ErrorsSettings
from gproxy.config.sections.job import JobSettings
from gproxy.config.sections.metrics import MetricsSettings
from gproxy.config.sections.outgoing import OutgoingSettings
from gproxy.config.sections.route import RouteSettings
from gproxy.config.sections.server import ServerSettings
from gproxy.config.sections.state import StateSettings
from gproxy.config.sections.tls import TLSSettings
from gproxy.config.sections.trace import TraceSettings
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import Bytes, Network, Rotate, Seconds
from gproxy.config.types.access_log import DEFAULT_FIELDS, LogField, LogTarget, SkippedLines, expanded


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class GatewaySettings(Record):
    """`[gateway]`: the options of every route."""

    handlers: tuple[str, ...] = field(
        default=(), metadata=doc("handlers of every route; requests pass them in this order, responses in reverse")
    )
    timeout: Seconds = field(
        default=Seconds(3),
        metadata=doc(
            "longest time until the response's head, retries included, then 504; "
            "it starts anew with each piece of an upload that a backend takes"
        ),
    )
    total_timeout: Seconds | None = field(
        default=None, metadata=doc("longest time of the whole exchange, bodies included; none: no limit")
    )
    trusted_proxies: tuple[Network, ...] = field(
        default=(), metadata=doc("networks whose X-Forwarded-* headers are trusted; peers on unix sockets always are")
    )

    request_id_header: str = field(
        default="X-Request-ID",
        metadata=doc(
            "header of the request's id: from trusted proxies, to backends, and back to the client; off: in no header"
        ),
    )
    report_header: Literal["backend", "client", "both"] | None = field(
        default=None,
        metadata=doc(
            "receivers of the header Gproxy-Report, with what handlers with mode = report would do; none: no header"
        ),
    )
    include: tuple[str, ...] = field(
        default=(),
        metadata=doc("further settings files or patterns such as conf.d/*.ini, relative to the folder of this file"),
    )

    def __post_init__(self) -> None:
        rules.raise_problems(
            rules.positive(self, "timeout", "total_timeout"),
            rules.id_header("request_id_header", self.request_id_header),
            rules.distinct(self, "handlers", "trusted_proxies", "include"),
        )

    @property
    def id_header(self) -> str:
        """The name of the header of ids; empty without one."""
        return "" if self.request_id_header == "off" else self.request_id_header


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LogSettings(Record):
    """`[log]`: the access log, its rotation, and the level and the format of the error log."""

    access: tuple[LogTarget, ...] = field(
        default=(LogTarget("log/access.log"),),
        metadata=doc(
            "where the access lines go: files; -: standard output; off: no log; syslog:HOST:PORT (UDP), "
            "syslog:tcp:HOST:PORT or syslog:unix:PATH: a syslog server"
        ),
    )
    format: Literal["ltsv", "json", "combined"] = field(default="ltsv", metadata=doc("format of the access lines"))
    fields: tuple[LogField, ...] = field(
        default=(LogField("default"),),
        metadata=doc(
            "fields of the access lines, in their order; default: the usual ones; further ones are apptime, grpc, "
            "handlers, query, report, scheme, tls, trace, and request.NAME and response.NAME for headers"
        ),
    )
    skip: tuple[SkippedLines, ...] = field(
        default=(),
        metadata=doc(
            "lines that are not written: of a path and those below it with any status (/health), of a status or class "
            "on any path (304, 2xx), or of both together (/health 2xx); each item counts alone"
        ),
    )
    rotate: Rotate = field(
        default=Rotate(daily=True, size=Bytes(10_000_000)),
        metadata=doc("daily, at a size, at whichever comes first, or never"),
    )
    keep: int = field(default=14, metadata=doc("number of rotated files to keep"))
    compress: bool = field(default=False, metadata=doc("whether rotated files are compressed to .gz"))
    level: Literal["debug", "info", "warning", "error"] = field(
        default="info", metadata=doc("lowest level in the error log")
    )
    errors: Literal["text", "json"] = field(
        default="text", metadata=doc("format of the error log; json: one object a line")
    )

    def __post_init__(self) -> None:
        rules.raise_problems(
            rules.at_least(0, self, "keep"),
            rules.require(self.access, "access", "expected a file, - for standard output, syslog:ADDRESS, or off"),
            rules.require(
                len(self.access) < 2 or not any(target.is_off for target in self.access),
                "access",
                "off cannot be combined with other targets",
            ),
            rules.distinct(self, "access", "skip"),
            rules.one_of_them(self, "fields"),
            rules.listed_once("fields", self.field_names, fold=True),
            rules.require(
                self.format != "combined" or self.field_names == DEFAULT_FIELDS,
                "fields",
                "format = combined has the fields of Apache's format; write format = ltsv or format = json",
            ),
        )

    @property
    def field_names(self) -> tuple[str, ...]:
        """The names of the fields of an access line, in their order."""
        return expanded(self.fields)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class HandlerSettings(Record):
    """`[handler:NAME]`: `use` is a built-in handler's name or MODULE:NAME; `options` are for its fields.

    `chain` are the options that the chain gives it.
    """

    name: str
    use: str
    options: dict[str, Value]
    section: RawSection
    #: The live handler, built while the settings are loaded.
    handler: object = field(default=None, compare=False, repr=False)
    chain: ChainOptions = field(default_factory=ChainOptions)
    #: The class or function of which the live handler is built, also if that fails.
    code: object = field(default=None, compare=False, repr=False)

    @property
    def written_mode(self) -> str:
        """The mode as the file has it, for processes that build no handlers: an option of the class may look so."""
        mode = self.options.get("mode")
        return mode.text if mode is not None and mode.text in ("report", "off") else "enforce"

    @property
    def is_user_code(self) -> bool:
        """True for a live handler that is not built in."""
        module = self.handler.__module__ if self.handler is not None else ""
        return ":" in self.use or (module != "" and not module.startswith("gproxy.handlers."))

    def mode_on(self, route: RouteSettings) -> Mode:
        """Return the mode of the handler on this route."""
        return "report" if self.name in route.report else self.chain.mode


def is_identity_handler(found: HandlerSettings) -> bool:
    """Return whether the handler identifies users; it says which headers only it may set, be it none."""
    return hasattr(found.handler, "identity_headers")


def with_credentials(routes: list[RouteSettings], handlers: Iterable[HandlerSettings]) -> list[RouteSettings]:
    """Return the routes. Without an identity handler the credentials are for the backends, so all routes keep them."""
    has_reader = any(map(is_identity_handler, handlers))
    return routes if has_reader else [route.with_authorization() for route in routes]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Settings(Record):
    """The checked content of the file at `path`. `handlers` has each handler that is declared or listed.

    `warnings` do not prevent serving. `sections` are the raw sections; later problems take their lines from them.
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
    jobs: tuple[JobSettings, ...] = ()
    tls: dict[str, TLSSettings] = field(default_factory=dict)
    state: StateSettings = field(default_factory=StateSettings)
    errors: ErrorsSettings = field(default_factory=ErrorsSettings)
    outgoing: OutgoingSettings = field(default_factory=OutgoingSettings)
    admin: AdminSettings = field(default_factory=AdminSettings)
    trace: TraceSettings = field(default_factory=TraceSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    #: The parts that the command adds to each worker, MODULE:NAME of each; see `runtime/command_part.py`.
    parts: tuple[str, ...] = ()

    @property
    def has_monitor(self) -> bool:
        """True if the gateway has a monitor process, which serves the admin listener and sends the traces."""
        return bool(self.admin.bind or self.trace.endpoint)

    @property
    def identity_handlers(self) -> tuple[str, ...]:
        """The handlers that identify users by credentials: jwt, and each one that has `identity_headers`."""
        return tuple(name for name, found in self.handlers.items() if is_identity_handler(found))

    def section(self, kind: str, name: str = "") -> RawSection:
        """Return the raw section, or an empty one if the file does not have it."""
        found = (section for section in self.sections if (section.kind, section.name) == (kind, name))
        return next(found, RawSection(kind, name, str(self.path), 0))

    def placed(self, message: str) -> str:
        """Return a message that begins with a section, and perhaps its option, behind their file and line."""
        match = _PLACE.match(message)
        section = self.section(match[1], match[2]) if match else None
        if match is None or section is None or not section.line:
            return message
        value = section.options.get(match[3])
        return f"{section.file}:{value.line if value else section.line}: {message}"


#: A section, and perhaps its option, at the beginning of a message.
_PLACE: Final = re.compile(r"\[(\w+):?([\w.-]*)\] ?(\w*)")
#: The override by which a command adds parts to the workers, MODULE:NAME of each. No file can have such a section.
PARTS: Final = ("command", "parts")
#: The class of each kind of section, except handlers, which have classes of their own.
SECTIONS: Final[dict[str, type[Any]]] = {
    "[server]": ServerSettings,
    "[gateway]": GatewaySettings,
    "[route:NAME]": RouteSettings,
    "[upstream:NAME]": UpstreamSettings,
    "[tls:NAME]": TLSSettings,
    "[job:NAME]": JobSettings,
    "[log]": LogSettings,
    "[state]": StateSettings,
    "[errors]": ErrorsSettings,
    "[outgoing]": OutgoingSettings,
    "[admin]": AdminSettings,
    "[trace]": TraceSettings,
    "[metrics]": MetricsSettings,
}


def unknown_option(name: str, known: Collection[str]) -> str:
    """Return the message about an option that its section, with these `known` options, does not have."""
    owners = [section for section, cls in SECTIONS.items() if name in option_names(cls)]
    unusual = {"[admin]", "[trace]", "[job:NAME]"}  # bind and timeout are usual elsewhere
    owners = [one for one in owners if one not in unusual] or ([] if hints.word_hint(name) else owners)
    if name == "host" and "bind" in known:  # other programs have host and port of their listener in [server]
        return f"unknown option{hints.option('address', known)}"
    if owners:
        return f"unknown option here; it belongs in {' or '.join(owners)}"
    return f"unknown option{hints.option(name, known)}"
