"""The routes at one path: a dict lookup finds those of a host, so the number of hosts costs no time."""

from collections.abc import Iterator, Mapping, Sequence

from gproxy.gateway.route import Route
from gproxy.http.request import Request
from gproxy.http.wire import bare_host

#: The length limit of a DNS name (RFC 1035 section 2.3.4): a longer one has too many suffixes to look up.
_MAX_NAME = 253


def endings(host: str) -> Iterator[str]:
    """Yield the suffixes of a host that a `*.` pattern matches, the longest first: `.b.c` and `.c` of `a.b.c`."""
    at = host.find(".", 1)
    while at > 0:
        yield host[at:]
        at = host.find(".", at + 1)


def _in_order(patterns: list[str], by_pattern: Mapping[str, list[Route]]) -> tuple[Route, ...]:
    """Return the routes of these host patterns, each once, exact paths first."""
    routes = dict.fromkeys(route for pattern in patterns for route in by_pattern.get(pattern, ()))
    return tuple(sorted(routes, key=lambda route: not route.settings.exact))


class Candidates:
    """The routes of one path, in their order: the exact host, then the longest matching `*.` host, then any host.

    Among routes of the same host the more specific one comes first, then the order of the file decides.
    """

    __slots__ = ("_any", "_by_host", "only")

    def __init__(self, routes: Sequence[Route]) -> None:
        by_pattern: dict[str, list[Route]] = {}
        for route in sorted(routes, key=lambda route: route.specificity, reverse=True):
            for pattern in route.hosts or ("",):
                by_pattern.setdefault(pattern.removeprefix("*"), []).append(route)
        #: The only route, if it matches every request.
        self.only = routes[0] if len(routes) == 1 and routes[0].takes_all else None
        self._any = _in_order([""], by_pattern)
        self._by_host = {
            pattern: _in_order([pattern, *endings(pattern), ""], by_pattern) for pattern in by_pattern if pattern
        }

    def of(self, request: Request) -> tuple[Route, ...]:
        """Return the routes for the request's host, in the order in which they are tried."""
        by_host = self._by_host
        if not by_host:
            return self._any
        host = bare_host(request.host)
        found = by_host.get(host)
        if found is None and len(host) <= _MAX_NAME:
            found = next((by_host[ending] for ending in endings(host) if ending in by_host), None)
        return self._any if found is None else found

    def best(self, request: Request) -> Route | None:
        """Return the first matching route; if none accepts the method, the first that matches otherwise."""
        return best_of(self.of(request), request)

    def allowed(self, request: Request) -> str:
        """Return the value of Allow: the methods of all routes that match the request but for its method."""
        return allowed_by(self.of(request), request)


class PatternCandidates(Candidates):
    """The routes with patterns, whatever their paths: in the same order as those of one path."""

    def at(self, path: str, request: Request) -> tuple[Route, ...]:
        """Return the routes for the request's host of which a pattern matches the path."""
        return tuple([route for route in self.of(request) if route.has_pattern(path)])


def best_of(routes: tuple[Route, ...], request: Request) -> Route | None:
    """Return the first of these routes that matches; if none accepts the method, the first that matches otherwise."""
    method = request.method
    fallback = None
    for route in routes:
        if not route.conditions or route.matches(request):
            if not route.methods or route.accepts_method(method):
                return route
            fallback = fallback or route
    return fallback


def allowed_by(routes: tuple[Route, ...], request: Request) -> str:
    """Return the value of Allow for these routes: the methods of those that match the request but for its method."""
    methods = {method for route in routes if route.matches(request) for method in route.methods}
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
