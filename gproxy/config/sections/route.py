"""The options of `[route:NAME]`."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, Self

from gproxy.config.ini.build import NOT_AN_OPTION, doc, option_group
from gproxy.config.ini.parser import RawSection
from gproxy.config.problems import Problem
from gproxy.config.record import Record
from gproxy.config.sections import retry, rules
from gproxy.config.sections.app import AppOptions, AppRef
from gproxy.config.sections.retry import RetryOn
from gproxy.config.sections.static import StaticOptions
from gproxy.config.types import Address, Bytes, Network, Percent, Seconds
from gproxy.config.types.path_pattern import RoutePath
from gproxy.config.types.patterns import CapturedPath, Pattern, Rewrite, plain_name
from gproxy.config.types.route_action import RedirectTarget, Share, SplitKey, UpgradeToken, UpstreamShare

Patterns = dict[str, Pattern]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RouteSettings(Record):
    """`[route:NAME]`: the requests that it matches, and its action. A timeout of None means the gateway's."""

    name: str = field(metadata=NOT_AN_OPTION)
    upstream: tuple[UpstreamShare, ...] = field(
        default=(),
        metadata=doc("[upstream:NAME] that gets the requests; with several, weight=N sets the share of each"),
    )
    path: tuple[RoutePath, ...] = field(
        default=(RoutePath("/"),),
        metadata=doc("paths to match, each with everything below it; ~ REGEX matches whole paths"),
    )
    exact: bool = field(default=False, metadata=doc("whether the route matches only this path and nothing below it"))
    handlers: tuple[str, ...] = field(
        default=(), metadata=doc("handlers of this route; they run inside the gateway's handlers")
    )
    skip: tuple[str, ...] = field(default=(), metadata=doc("handlers of the gateway that do not run for this route"))
    report: tuple[str, ...] = field(
        default=(), metadata=doc("handlers of the route that only report here, as with mode = report")
    )
    public: bool = field(
        default=False,
        metadata=doc("whether anyone may use the route: declares that no identity handler is to run; removes none"),
    )
    timeout: Seconds | None = field(
        default=None, metadata=doc("longest time until the response's head; none: as in [gateway]")
    )
    total_timeout: Seconds | None = field(
        default=None, metadata=doc("longest time of the whole exchange, bodies included; none: as in [gateway]")
    )
    upgrades: tuple[UpgradeToken, ...] = field(
        default=(UpgradeToken.parse("websocket"),),
        metadata=doc("protocols that clients may switch to by Upgrade, such as tcp or SPDY/3.1; empty: none"),
    )
    stream: bool = field(
        default=False,
        metadata=doc("whether tunnel_timeout bounds the pauses of every response, as it does for event streams"),
    )
    max_body: Bytes = field(
        default=Bytes(0), metadata=doc("largest request body, at most that of [server]; 0: as in [server]")
    )
    retries: int | None = field(
        default=None, metadata=doc("most attempts after the first one; none: as in the upstream")
    )
    retry_on: tuple[RetryOn, ...] | None = field(
        default=None, metadata=doc("failures to retry; none: as in the upstream")
    )
    hedge: Seconds | None = field(
        default=None, metadata=doc("wait before a second attempt starts at another backend; none: as in the upstream")
    )
    buffer_request: Bytes | None = field(
        default=None,
        metadata=doc(
            "bytes of a request body that are collected before a backend is asked; 0: none; none: as in the upstream"
        ),
    )
    buffer_response: Bytes | None = field(
        default=None,
        metadata=doc(
            "bytes of a response that are read ahead while its client reads slowly; 0: none; none: as in the upstream"
        ),
    )
    sample: Percent | None = field(
        default=None, metadata=doc("share of the requests to record as traces; none: as in [trace]")
    )
    methods: tuple[str, ...] = field(default=(), metadata=doc("methods to match; none: all"))
    host: tuple[str, ...] = field(default=(), metadata=doc("host names to match, or *.example.com; none: all"))
    scheme: Literal["http", "https"] | None = field(
        default=None, metadata=doc("scheme to match, as the client uses it; none: both")
    )
    headers: Patterns = field(
        default_factory=dict, metadata=doc("headers that a request must have, or with 'not ' before the name must not")
    )
    cookies: Patterns = field(default_factory=dict, metadata=doc("cookies that a request must or must not have"))
    query: Patterns = field(default_factory=dict, metadata=doc("query parameters that a request must or must not have"))
    client: tuple[Network, ...] = field(
        default=(), metadata=doc("addresses and networks of clients to match, behind trusted proxies; none: all")
    )
    listener: tuple[Address, ...] = field(
        default=(), metadata=doc("addresses of [server] bind whose requests the route takes; none: all")
    )
    tunnel_timeout: Seconds = field(
        default=Seconds(3600),
        metadata=doc("longest pause of a WebSocket, an event stream, or any response with stream = yes"),
    )
    strip_prefix: bool = field(default=False, metadata=doc("whether path is removed from the forwarded path"))
    restore_prefix: bool = field(
        default=True,
        metadata=doc("whether the stripped prefix is put back into Location, Content-Location and cookies of backends"),
    )
    add_prefix: str = field(default="", metadata=doc("prefix of the forwarded path, added after strip_prefix"))
    rewrite: Rewrite | CapturedPath | None = field(
        default=None,
        metadata=doc(
            r"new path for each path that the expression matches: /old/(\d+) -> /new/\1; or with groups of the route's "
            "own pattern: /new/{1}"
        ),
    )
    keep: tuple[str, ...] = field(
        default=(), metadata=doc("headers to forward that the gateway otherwise removes: Authorization")
    )
    split_by: SplitKey | None = field(
        default=None,
        metadata=doc(
            "keeps each client on one of several upstreams, by its own value or, with sticky, by a cookie that the "
            "gateway sets; none: requests take turns"
        ),
    )
    mirror: str = field(
        default="", metadata=doc("upstream that gets a copy of the requests; its responses are discarded")
    )
    mirror_share: Share = field(default=Share(Share.WHOLE), metadata=doc("share of requests that is copied"))
    redirect: RedirectTarget | None = field(
        default=None,
        metadata=doc("URL or path that clients are redirected to, in place of an upstream: https://{host}{path}"),
    )
    status: Literal[301, 302, 303, 307, 308] = field(default=307, metadata=doc("status of the redirect"))
    respond: int | None = field(default=None, metadata=doc("status of a fixed response, in place of an upstream"))
    body: str = field(default="", metadata=doc("text of the fixed response"))
    content_type: str = field(default="text/plain; charset=utf-8", metadata=doc("media type of the fixed response"))
    app: AppOptions = option_group(AppOptions)
    static: StaticOptions = option_group(StaticOptions)

    def __post_init__(self) -> None:
        rules.raise_problems(
            rules.one_destination(
                {
                    "upstream": () if self.app.fallthrough else self.upstream,
                    "app": self.app.app,
                    "root": self.static.root,
                    "redirect": self.redirect,
                    "respond": self.respond,
                }
            ),
            rules.require(
                self.app.fallthrough is None or self.upstream, "fallthrough", "has no meaning without upstream ="
            ),
            rules.one_of_them(self, "path"),
            rules.route_paths("path", self.path),
            rules.for_prefixes(self.path, exact=self.exact, strip_prefix=self.strip_prefix),
            rules.positive(self, "timeout", "total_timeout", "tunnel_timeout"),
            rules.at_least(0, self, "buffer_request", "buffer_response"),
            retry.of_route(self, self.retry_on),
            rules.methods("methods", self.methods),
            rules.hosts("host", self.host),
            rules.header_names("headers", map(plain_name, self.headers)),
            rules.cookie_names("cookies", map(plain_name, self.cookies)),
            rules.addresses_only("listener", self.listener),
            rules.header_names("keep", self.keep),
            rules.distinct(self, "path", "upstream", "handlers", "skip", "report", "methods", "client", "listener"),
            rules.distinct(self, "upgrades"),
            rules.distinct(self, "host", "headers", "keep", fold=True),
            rules.captures("rewrite", self.rewrite.groups if isinstance(self.rewrite, CapturedPath) else (), self.path),
            rules.redirect_placeholders("redirect", self.redirect.names if self.redirect else (), self.path),
            rules.sent_prefix("add_prefix", self.add_prefix),
            rules.split("upstream", self.upstream, self.split_by),
            rules.fixed_response(self.respond, self.body, self.content_type),
            rules.only_with(self, "upstream", "mirror", "split_by", "retries", "retry_on", "hedge", "upgrades"),
            rules.only_with(self, "upstream", *(() if self.app.app else ("keep",))),
            rules.only_with(self, "upstream", *(() if self.app.offload else ("buffer_request", "buffer_response"))),
            rules.not_with(self, "redirect", "stream"),  # respond may: a handler may stream its own response
            rules.only_with(self, "mirror", "mirror_share"),
            rules.only_with(self, "strip_prefix", "restore_prefix"),
            rules.only_with(self, "redirect", "status"),
            rules.only_with(self, "respond", "body", "content_type"),
            rules.not_with(self, "rewrite", "strip_prefix", "add_prefix"),
            rules.not_with(self, "respond", "rewrite", "strip_prefix", "add_prefix"),
        )

    @property
    def action(self) -> str:
        """The option that names the action: app, root, upstream, redirect or respond."""
        if self.respond is not None:
            return "respond"
        if self.redirect is not None:
            return "redirect"
        return "app" if self.app.app else "root" if self.static.root else "upstream"

    def with_app(self, live: object) -> Self:
        """Return the route with its app, which was imported."""
        return replace(self, app=replace(self.app, live=live))

    @property
    def keeps_authorization(self) -> bool:
        """True if the backend gets the Authorization of the request."""
        return any(name.lower() == "authorization" for name in self.keep)

    def with_authorization(self) -> Self:
        """Return the route with Authorization among the kept headers, if an upstream or an app gets its requests."""
        if self.keeps_authorization or not (self.upstream or self.app.app):
            return self
        return replace(self, keep=(*self.keep, "Authorization"))


#: Imports the app of a route, so that `load` reports its problems.
BuildApp = Callable[[AppRef, RawSection, list[Problem]], object]
