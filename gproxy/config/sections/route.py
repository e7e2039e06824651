"""The options of `[route:NAME]`."""

from dataclasses import dataclass, field
from typing import Literal

from gproxy.config.ini.build import NAME, doc
from gproxy.config.sections import retry, rules
from gproxy.config.sections.retry import RetryOn
from gproxy.config.types import Bytes, Seconds
from gproxy.config.types.patterns import Pattern, Rewrite
from gproxy.config.types.route_action import RedirectTarget, Share, SplitKey, UpstreamShare

Patterns = dict[str, Pattern]


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """`[route:NAME]`: which requests it takes and where they go. A timeout of None is the gateway's."""

    name: str = field(metadata=NAME)
    upstream: tuple[UpstreamShare, ...] = field(
        default=(), metadata=doc("the [upstream:NAME] that answers; of several each its share, by weight=N")
    )
    path: str = field(default="/", metadata=doc("this path and everything below it"))
    exact: bool = field(default=False, metadata=doc("only this path, and nothing below it"))
    handlers: tuple[str, ...] = field(default=(), metadata=doc("around this route, inside the gateway's own"))
    skip: tuple[str, ...] = field(default=(), metadata=doc("handlers of the gateway that do not run here"))
    timeout: Seconds | None = field(default=None, metadata=doc("the whole exchange; none: as in [gateway]"))
    stream: bool = field(
        default=False,
        metadata=doc("timeout holds until the response's head only, then the upstream's read_timeout"),
    )
    max_body: Bytes = field(default=Bytes(0), metadata=doc("largest request body, below [server]'s; 0: as there"))
    retries: int | None = field(default=None, metadata=doc("further attempts; none: as in the upstream"))
    retry_on: tuple[RetryOn, ...] | None = field(default=None, metadata=doc("after what; none: as in the upstream"))
    hedge: Seconds | None = field(default=None, metadata=doc("when another is asked too; none: as in the upstream"))
    methods: tuple[str, ...] = field(default=(), metadata=doc("only these methods; none: all"))
    host: tuple[str, ...] = field(default=(), metadata=doc("only these host names or *.example.com; none: all"))
    scheme: Literal["http", "https"] | None = field(
        default=None, metadata=doc("only what clients ask over http, or over https; none: both")
    )
    headers: Patterns = field(default_factory=dict, metadata=doc("only requests with these headers"))
    cookies: Patterns = field(default_factory=dict, metadata=doc("only requests with these cookies"))
    query: Patterns = field(default_factory=dict, metadata=doc("only requests with these parameters in the query"))
    tunnel_timeout: Seconds = field(
        default=Seconds(3600), metadata=doc("how long a WebSocket may be idle; its own limit in place of timeout")
    )
    strip_prefix: bool = field(default=False, metadata=doc("path is taken off before the request is passed on"))
    add_prefix: str = field(default="", metadata=doc("put before the path as it is passed on; after strip_prefix"))
    rewrite: Rewrite | None = field(default=None, metadata=doc(r"a new path for one that fits: /old/(\d+) -> /new/\1"))
    keep: tuple[str, ...] = field(default=(), metadata=doc("headers passed on that are removed elsewhere"))
    split_by: SplitKey | None = field(
        default=None, metadata=doc("of several upstreams a client stays with one; none: each request in turn")
    )
    mirror: str = field(default="", metadata=doc("an upstream that gets a copy of requests; its answers are dropped"))
    mirror_share: Share = field(default=Share(Share.WHOLE), metadata=doc("of the requests that are copied"))
    redirect: RedirectTarget | None = field(
        default=None, metadata=doc("where clients are sent instead of to an upstream")
    )
    status: Literal[301, 302, 303, 307, 308] = field(default=307, metadata=doc("of a redirect"))
    respond: int | None = field(default=None, metadata=doc("a status that is answered instead of by an upstream"))
    body: str = field(default="", metadata=doc("its text"))
    content_type: str = field(default="text/plain; charset=utf-8", metadata=doc("its media type"))

    def __post_init__(self) -> None:
        rules.raise_problems(
            rules.one_destination(self, "upstream", "redirect", "respond"),
            rules.route_path("path", self.path),
            rules.positive(self, "timeout", "tunnel_timeout"),
            retry.of_route(self),
            rules.methods("methods", self.methods),
            rules.hosts("host", self.host),
            rules.header_names("headers", self.headers),
            rules.cookie_names("cookies", self.cookies),
            rules.header_names("keep", self.keep),
            rules.distinct(self, "upstream", "handlers", "skip", "methods"),
            rules.distinct(self, "host", "headers", "keep", fold=True),
            rules.sent_prefix("add_prefix", self.add_prefix),
            rules.split("upstream", self.upstream, self.split_by),
            rules.fixed_response(self.respond, self.body, self.content_type),
            rules.only_with(self, "upstream", "mirror", "split_by", "keep", "retries", "retry_on", "hedge"),
            rules.not_with(self, "redirect", "stream"),  # but with respond: a handler may have a stream of its own
            rules.only_with(self, "mirror", "mirror_share"),
            rules.only_with(self, "redirect", "status"),
            rules.only_with(self, "respond", "body", "content_type"),
            rules.not_with(self, "rewrite", "strip_prefix", "add_prefix"),
            rules.not_with(self, "respond", "rewrite", "strip_prefix", "add_prefix"),
        )
