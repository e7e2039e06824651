"""A route: what it asks of a request, and the chain that a match runs through."""

import re
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Final, NamedTuple

from gproxy.config.sections.route import RouteSettings
from gproxy.config.types.patterns import Pattern
from gproxy.http.cookies import cookie_in
from gproxy.http.errors import HTTPError
from gproxy.http.header_names import SECRET_FIELDS
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.target import decode

#: A request with more parameters or cookies is rejected where a condition would have to look through them.
_MAX_PAIRS: Final = 1000


class Condition(NamedTuple):
    """What a request must have besides path, host and method."""

    kind: str
    name: str
    wanted: Pattern

    def found(self, request: Request) -> str | None:
        """What the request has there; None for nothing."""
        return _READERS[self.kind](request, self.name)

    def matches(self, request: Request) -> bool:
        return self.wanted.fits(_READERS[self.kind](request, self.name))

    def __str__(self) -> str:
        name = f"{self.kind} {self.name}".rstrip()
        wanted = "***" if self.name.lower() in SECRET_FIELDS else self.wanted
        return name if self.wanted.text == "*" else f"{name}: {wanted}"


def _parameter(request: Request, name: str) -> str | None:
    return _parameter_in(request.query, name)


@lru_cache(16)  # several routes may ask for the same, and a match may be made again
def _parameter_in(query: str, name: str) -> str | None:
    if query.count("&") >= _MAX_PAIRS:
        raise HTTPError(400, f"the query has more than {_MAX_PAIRS} parameters")
    found = _parameter_named(name).search(query)
    return None if found is None else decode((found[1] or "").replace("+", " ")).decode("utf-8", "replace")


@cache
def _parameter_named(name: str) -> re.Pattern[str]:
    """Find the first parameter with this name, however it is escaped. PERF: only its value needs to be decoded."""
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


def _scheme(request: Request, _: str) -> str:
    """As the client spoke, by what a trusted proxy says; from others it was removed on the way in."""
    return (request.headers.get("x-forwarded-proto") or request.scheme).lower()


_READERS: Final[dict[str, Callable[[Request, str], str | None]]] = {
    "scheme": _scheme,
    "header": lambda request, name: request.headers.get(name),
    "cookie": _cookie,
    "query": _parameter,
}


def _conditions(settings: RouteSettings) -> tuple[Condition, ...]:
    asked = {"header": settings.headers, "cookie": settings.cookies, "query": settings.query}
    scheme = [Condition("scheme", "", Pattern(settings.scheme))] if settings.scheme else []
    return (
        *scheme,
        *(Condition(kind, name, wanted) for kind, group in asked.items() for name, wanted in group.items()),
    )


class Route:
    """Live: built whole, never edited."""

    def __init__(self, settings: RouteSettings, *, timeout: float) -> None:
        self.name = settings.name
        self.settings = settings
        self.path = settings.path.rstrip("/") or "/"
        self.timeout = timeout
        self.methods = frozenset(settings.methods)
        self.hosts = tuple(host.lower().rstrip(".") for host in settings.host)
        self.conditions = _conditions(settings)
        #: Is the path all that counts?
        self.takes_all = not (self.hosts or self.methods or self.conditions or settings.exact)
        #: The names of all handlers that a request on this route passes.
        self.handler_names: frozenset[str] = frozenset()
        #: The gateway's handlers, but for those it skips, then its own, then forward.
        self.chain: Callable[[Request], Response]
        #: For a wrong method: the same handlers around a 405.
        self.method_not_allowed: Callable[[Request], Response]
        #: Where its chain ends: forward, or what stands in its place.
        self.action: Callable[[Request], Response]
        #: Only its own handlers and forward.
        self.route_chain: Callable[[Request], Response]

    @property
    def specificity(self) -> tuple[bool, bool, int]:
        """Of routes with the same path and host the greatest goes first."""
        return (self.settings.exact, bool(self.methods), len(self.conditions))

    def matches(self, request: Request) -> bool:
        """Has the request all that is asked besides path, host and method?"""
        return all(condition.matches(request) for condition in self.conditions)

    def accepts_method(self, method: str) -> bool:
        return not self.methods or method in self.methods or (method == "HEAD" and "GET" in self.methods)

    def __repr__(self) -> str:
        return f"<Route {self.name} {self.path}>"
