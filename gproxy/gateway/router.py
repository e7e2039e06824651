"""Host, path, method, headers: which route takes a request.

The longest path wins, then the route that asks for more: a host, methods, headers; then the order of the file. It
fails closed: a path that readers may take for different ones that would lead to different routes is refused, and a
route with the right path and the wrong method is a 405, never a reason to look at shorter paths.
"""

from collections.abc import Callable, Iterable, Sequence

from gproxy.config.routes import RouteSettings
from gproxy.http.errors import BadMessage, HTTPError
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.target import readings


class Route:
    """Live: what to match, and the chain that a match runs through."""

    def __init__(self, settings: RouteSettings, *, timeout: float) -> None:
        self.name = settings.name
        self.settings = settings
        self.path = settings.path.rstrip("/") or "/"
        self.timeout = timeout
        self.methods = frozenset(settings.methods)
        self.hosts = tuple(host.lower() for host in settings.host)
        self.headers = tuple(settings.headers.items())
        #: Is the path all that counts?
        self.takes_all = not (self.hosts or self.methods or self.headers)
        #: The names of all handlers that a request on this route passes.
        self.guards: frozenset[str] = frozenset()
        #: The gateway's handlers, but for those it skips, then its own, then forward.
        self.chain: Callable[[Request], Response]
        #: For a wrong method: the same handlers around a 405.
        self.refusal: Callable[[Request], Response]
        #: Only its own handlers and forward.
        self.inner: Callable[[Request], Response]

    @property
    def specificity(self) -> tuple[bool, bool, int]:
        return (bool(self.hosts), bool(self.methods), len(self.headers))

    def accepts_host(self, host: str) -> bool:
        return not self.hosts or any(_is_host_like(host, pattern) for pattern in self.hosts)

    def accepts_headers(self, request: Request) -> bool:
        return all(request.headers.get(name) == value for name, value in self.headers)

    def accepts_method(self, method: str) -> bool:
        return not self.methods or method in self.methods or (method == "HEAD" and "GET" in self.methods)

    def __repr__(self) -> str:
        return f"<Route {self.name} {self.path}>"


def _is_host_like(host: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:])
    return host == pattern


def bare_host(host: str) -> str:
    """The host without its port, in lower case."""
    end = host.rfind(":")
    return (host[:end] if end > host.rfind("]") else host).lower().rstrip(".")


class WrongMethodError(HTTPError):
    """A route takes the path, none the method: 405 with Allow (RFC 9110 section 15.5.6)."""

    def __init__(self, route: Route, method: str, allowed: str) -> None:
        super().__init__(405, f"{method} is not allowed here", {"Allow": allowed})
        self.route = route


class Router:
    """All routes; a match costs one dict lookup for each segment of the path, however many routes there are."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = list(routes)
        self._by_path: dict[str, list[Route]] = {}
        for route in self.routes:
            self._by_path.setdefault(route.path, []).append(route)
        for group in self._by_path.values():
            group.sort(key=lambda route: route.specificity, reverse=True)

    def match(self, request: Request) -> Route:
        """The route. Raises HTTPError: 404 for none, 405 for a wrong method, 400 for a path of several meanings."""
        try:
            paths = readings(request.path)
        except BadMessage as error:
            raise HTTPError(400, error.detail) from None
        found = self._find(paths[0], request)
        if found is None:
            raise HTTPError(404, "no route matches this path")
        if len(paths) > 1:
            self._refuse_detours(paths[1:], found, request)
        if not (found.takes_all or found.accepts_method(request.method)):
            raise WrongMethodError(found, request.method, self._allowed(found, request))
        return found

    def _refuse_detours(self, paths: Sequence[str], found: Route, request: Request) -> None:
        """Some backend may take the path for another one: then that one's route must not ask for more than ours."""
        for path in paths:
            other = self._find(path, request)
            if other is not None and not (other.guards <= found.guards and other.accepts_method(request.method)):
                raise HTTPError(400, "the path can be read in ways that lead to different routes")

    def _find(self, path: str, request: Request) -> Route | None:
        """The best route at the longest path; one with a wrong method if no other there has the right one."""
        while True:
            group = self._by_path.get(path)
            if group is not None:
                found = group[0] if group[0].takes_all and len(group) == 1 else _best(group, request)
                if found is not None:
                    return found
            if path in ("/", ""):
                return None
            path = path[: path.rfind("/")] or "/"

    def _allowed(self, found: Route, request: Request) -> str:
        group = [route for route in self._by_path[found.path] if _fits(route, request)]
        methods = {method for route in group for method in route.methods}
        return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def _fits(route: Route, request: Request) -> bool:
    return (not route.hosts or route.accepts_host(bare_host(request.host))) and (
        not route.headers or route.accepts_headers(request)
    )


def _best(group: list[Route], request: Request) -> Route | None:
    fitting = [route for route in group if _fits(route, request)]
    return next((route for route in fitting if route.accepts_method(request.method)), fitting[0] if fitting else None)
