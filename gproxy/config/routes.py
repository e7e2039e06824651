"""The options of `[route:NAME]`."""

from dataclasses import dataclass, field

from gproxy.config import rules
from gproxy.config.fields import NAME, doc
from gproxy.config.types import Seconds


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """`[route:NAME]`: which requests it takes and where they go. A timeout of None is the gateway's."""

    name: str = field(metadata=NAME)
    upstream: str = field(metadata=doc("the [upstream:NAME] that answers"))
    path: str = field(default="/", metadata=doc("this path and everything below it"))
    handlers: tuple[str, ...] = field(default=(), metadata=doc("around this route, inside the gateway's own"))
    skip: tuple[str, ...] = field(default=(), metadata=doc("handlers of the gateway that do not run here"))
    timeout: Seconds | None = field(default=None, metadata=doc("the whole exchange; none: as in [gateway]"))
    stream: bool = field(
        default=False,
        metadata=doc("timeout holds until the response's head only, then the upstream's read_timeout"),
    )
    methods: tuple[str, ...] = field(default=(), metadata=doc("only these methods; none: all"))
    host: tuple[str, ...] = field(default=(), metadata=doc("only these host names; none: all"))
    headers: dict[str, str] = field(default_factory=dict, metadata=doc("only requests with these headers"))
    tunnel_timeout: Seconds = field(
        default=Seconds(3600), metadata=doc("how long a WebSocket may be idle; its own limit in place of timeout")
    )
    strip_prefix: bool = field(default=False, metadata=doc("path is taken off before the request is passed on"))
    keep: tuple[str, ...] = field(default=(), metadata=doc("headers passed on that are removed elsewhere"))

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
