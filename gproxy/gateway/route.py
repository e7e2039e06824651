"""A route: its conditions on a request, and its chain."""

import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Final, NamedTuple

from gproxy.config.sections.route import RouteSettings
from gproxy.config.types import Network
from gproxy.config.types.patterns import Pattern, is_negated, plain_name
from gproxy.gateway.chain import compose
from gproxy.gateway.error_responses import PLAIN, ErrorResponses
from gproxy.http.body import NO_BODY
from gproxy.http.cookies import cookie_in
from gproxy.http.errors import HTTPError
from gproxy.http.forwarding import WEBSOCKET
from gproxy.http.handler import Handler, Next
from gproxy.http.header_names import is_likely_secret
from gproxy.http.placeholders import client_scheme
from gproxy.http.request import HTTP2, Request
from gproxy.http.target import decode
from gproxy.http.time_limit import ExchangeLimits, TimeLimit
from gproxy.http.trust import UNIX_PEER, is_trusted

#: A request with more parameters or cookies is rejected if a condition would have to search them.
_MAX_PAIRS: Final = 1000


class Condition(NamedTuple):
    """A condition on a request besides path, host and method."""

    kind: str
    name: str
    wanted: "Pattern | ClientNetworks"
    #: True if the request must not have such a value.
    is_negated: bool = False

    def found(self, request: Request) -> str | None:
        """Return the value that the request has; None if absent."""
        return _READERS[self.kind](request, self.name)

    def matches(self, request: Request) -> bool:
        return self.wanted.fits(_READERS[self.kind](request, self.name)) is not self.is_negated

    def __str__(self) -> str:
        name = f"{'not ' * self.is_negated}{self.kind} {self.name}".rstrip()
        wanted = "***" if is_likely_secret(self.name) else self.wanted
        return name if self.wanted.text == "*" else f"{name}: {wanted}"


class ClientNetworks:
    """The networks of clients that a route takes. A peer on a unix socket has no address, so it is in none."""

    def __init__(self, networks: tuple[Network, ...]) -> None:
        self.text = ", ".join(map(str, networks))
        self._networks = networks
        self._has = lru_cache(4096)(self._contain)

    def fits(self, client: str | None) -> bool:
        """Return whether the client's address is in one of the networks."""
        return client is not None and self._has(client)

    def _contain(self, client: str) -> bool:
        return client != UNIX_PEER and is_trusted(client, self._networks)

    def __str__(self) -> str:
        return self.text


def _parameter(request: Request, name: str) -> str | None:
    return _parameter_in(request.query, name)


@lru_cache(16)  # several routes may read the same parameter, and a request may be matched again
def _parameter_in(query: str, name: str) -> str | None:
    if query.count("&") >= _MAX_PAIRS:
        raise HTTPError(400, f"the query has more than {_MAX_PAIRS} parameters")
    found = _parameter_named(name).search(query)
    return None if found is None else decode((found[1] or "").replace("+", " ")).decode("utf-8", "replace")


@cache
def _parameter_named(name: str) -> re.Pattern[str]:
    """Return a pattern of the first parameter with this name, in any escaping. PERF: only the value is decoded."""
    spelled = "".join(map(_spellings, name.encode()))
    return re.compile(rf"(?:\A|&){spelled}(?:=([^&]*+))?(?=&|\Z)")


def _spellings(byte: int) -> str:
    escaped = f"%(?i:{byte:02x})"
    if byte == 0x20:
        return rf"(?:\+|{escaped})"
    return escaped if byte > 0x7E or byte in b"%+&=" else f"(?:{re.escape(chr(byte))}|{escaped})"


def _cookie(request: Request, name: str) -> str | None:
    return _cookie_in(request.headers.get("cookie") or "", name)


@lru_cache(16)
def _cookie_in(header: str, name: str) -> str | None:
    if header.count(";") >= _MAX_PAIRS:
        raise HTTPError(400, f"there are more than {_MAX_PAIRS} cookies")
    return cookie_in(header, name)


_READERS: Final[dict[str, Callable[[Request, str], str | None]]] = {
    "scheme": lambda request, _: client_scheme(request),
    "header": lambda request, name: request.headers.get(name),
    "cookie": _cookie,
    "query": _parameter,
    "client": lambda request, _: request.client,
}


def _conditions(settings: RouteSettings) -> tuple[Condition, ...]:
    patterns = {"header": settings.headers, "cookie": settings.cookies, "query": settings.query}
    scheme = [Condition("scheme", "", Pattern(settings.scheme))] if settings.scheme else []
    client = [Condition("client", "", ClientNetworks(settings.client))] if settings.client else []
    return (
        *scheme,
        *client,
        *(
            Condition(kind, plain_name(name), wanted, is_negated(name))
            for kind, group in patterns.items()
            for name, wanted in group.items()
        ),
    )


def exchange_limits(settings: RouteSettings, timeout: float, total_timeout: float | None) -> ExchangeLimits:
    """Return the limits of the route's exchanges, each with the section that sets it."""
    section = f"[route:{settings.name}]"
    head = TimeLimit.DEADLINE.of(timeout, f"timeout of {section if settings.timeout else '[gateway]'}")
    total = None
    if total_timeout is not None:
        total = TimeLimit.TOTAL.of(
            total_timeout, f"total_timeout of {section if settings.total_timeout else '[gateway]'}"
        )
    event_stream = TimeLimit.TUNNEL.of(settings.tunnel_timeout, f"tunnel_timeout of {section}")
    return ExchangeLimits(head, total, event_stream if settings.stream else head, event_stream)


class Route:
    """A live route: its conditions, its own handlers and its action; immutable.

    `timeout` and `total_timeout` are the gateway's unless the route has its own. `action` is the last step: forward,
    split, mirror, redirect or fixed response. `gateway_handlers` are the names of the handlers of `[gateway]`,
    outermost first. `is_in_rules`: access rules name the route, so they may judge requests on other routes differently.
    """

    def __init__(
        self,
        settings: RouteSettings,
        *,
        timeout: float,
        total_timeout: float | None = None,
        action: Next,
        handlers: Sequence[Handler] = (),
        gateway_handlers: Sequence[str] = (),
        is_in_rules: bool = False,
        errors: ErrorResponses = PLAIN,
    ) -> None:
        self.name = settings.name
        self.is_in_rules = is_in_rules
        self.settings = settings
        #: The paths: whole ones with `exact`, else prefixes, the longest first; and the patterns.
        self.exact = tuple(path.read for path in settings.path) if settings.exact else ()
        self.prefixes = () if settings.exact else _prefixes(settings)
        self.patterns = tuple(path.expression for path in settings.path if path.expression is not None)
        self.timeout = timeout
        self.limits = exchange_limits(settings, timeout, total_timeout)
        self.methods = frozenset(settings.methods)
        self._upgrades = frozenset(settings.upgrades)
        self.hosts = tuple(host.lower().rstrip(".") for host in settings.host)
        self.conditions = _conditions(settings)
        #: True if the path is the only condition.
        self.takes_all = not (self.hosts or self.methods or self.conditions or settings.exact)
        #: The names of the gateway's handlers that this route does not skip.
        self.passes = tuple(name for name in gateway_handlers if name not in settings.skip)
        #: The names of all handlers that a request on this route passes.
        self.handler_names = frozenset((*self.passes, *settings.handlers))
        self.action = action
        #: The route's own handlers and the action.
        self.route_chain = compose(handlers, action, errors)

    @property
    def specificity(self) -> tuple[bool, bool, int]:
        """The sort key of routes with the same path and host: the greatest is tried first."""
        return (self.settings.exact, bool(self.methods), len(self.conditions) + bool(self.settings.listener))

    def has_pattern(self, path: str) -> bool:
        """Return whether one of the route's patterns matches the normalized path."""
        return any(pattern.fullmatch(path) is not None for pattern in self.patterns)

    def prefix_of(self, path: str) -> str:
        """Return the longest prefix that the normalized path is below, or an empty text."""
        below = f"{path}/"
        return next((one for one in self.prefixes if one == "/" or below.startswith(f"{one}/")), "")

    def matches(self, request: Request) -> bool:
        """Return whether the request meets all conditions besides path, host and method."""
        return all(condition.matches(request) for condition in self.conditions)

    def upgrade_of(self, request: Request) -> str | None:
        """Return the first protocol that the client offers and the route tunnels, as the client writes it.

        Raise HTTPError 501 for a CONNECT in HTTP/2 (RFC 8441) that would become none: it is no ordinary request.
        """
        for token in request.offered:
            key = token.lower()
            if key in self._upgrades and (key != WEBSOCKET or _may_be_websocket(request)):
                return token
        if request.offered and request.received.protocol == HTTP2:
            raise HTTPError(501, f"this route does not tunnel {request.offered[0]}")
        return None

    def accepts_method(self, method: str) -> bool:
        return not self.methods or method in self.methods or (method == "HEAD" and "GET" in self.methods)

    def __repr__(self) -> str:
        return f"<Route {self.name} {', '.join(map(str, self.settings.path))}>"


def _may_be_websocket(request: Request) -> bool:
    """Return whether the request can be the handshake of a WebSocket (RFC 6455 section 4.1): GET without a body."""
    return request.method == "GET" and request.body is NO_BODY


def _prefixes(settings: RouteSettings) -> tuple[str, ...]:
    return tuple(sorted({path.prefix for path in settings.path} - {""}, key=len, reverse=True))
