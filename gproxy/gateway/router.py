"""Matching of a request to a route, by path, host, method and further conditions.

The longest path wins; of equal paths an exact one; then the exact host, then the longest `*.` host. Then the more
specific route wins: one with methods, then the one with the most conditions on headers, cookies and parameters; then
the first in the file.

Matching fails closed. A path that backends may read in several ways is rejected if these lead to different routes.
A route with the right path and the wrong method is a 405: shorter paths are not tried. A matcher that raises is an
error, never "no match".
"""

from collections.abc import Iterable, Sequence

from gproxy.gateway.candidates import Candidates
from gproxy.gateway.route import Route
from gproxy.http.errors import BadMessage, HTTPError
from gproxy.http.request import Request
from gproxy.http.target import readings


class WrongMethodError(HTTPError):
    """A request whose path has routes, but none for its method: 405 with Allow (RFC 9110 section 15.5.6)."""

    def __init__(self, route: Route, method: str, allowed: str) -> None:
        super().__init__(405, f"{method} is not allowed here", {"Allow": allowed})
        self.route = route


class Router:
    """All routes. A match costs one dict lookup a path segment, whatever the number of routes."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = list(routes)
        prefixes: dict[str, list[Route]] = {}
        exact: dict[str, list[Route]] = {}
        for route in self.routes:
            if route.settings.exact:
                exact.setdefault(route.settings.path, []).append(route)
            else:
                prefixes.setdefault(route.path, []).append(route)
        self._by_path = {path: Candidates(group) for path, group in prefixes.items()}
        #: The length of the longest route path. PERF: it bounds the work for paths of thousands of segments.
        self._max_length = max(map(len, self._by_path), default=1)
        #: Exact routes, followed by the prefix routes of the same path.
        self._exact = {path: Candidates([*group, *prefixes.get(group[0].path, ())]) for path, group in exact.items()}

    def match(self, request: Request) -> Route:
        """Return the route. Raises HTTPError: 404 for none, 405 for a wrong method, 400 for an ambiguous path."""
        try:
            paths = readings(request.path)
        except BadMessage as error:
            raise HTTPError(400, error.detail) from None
        found = self.find(paths[0], request)
        if found is None:
            raise HTTPError(404, "no route matches this path")
        if len(paths) > 1:
            self._reject_ambiguous(paths[1:], found, request)
        if not (found.takes_all or found.accepts_method(request.method)):
            raise WrongMethodError(found, request.method, self._allowed(found, paths[0], request))
        return found

    def _reject_ambiguous(self, paths: Sequence[str], found: Route, request: Request) -> None:
        """Reject an ambiguous path if another reading of it leads to a route with further handlers or other methods."""
        for path in paths:
            other = self.find(path, request)
            if other is not None and not (
                other.handler_names <= found.handler_names and other.accepts_method(request.method)
            ):
                raise HTTPError(400, "the path is ambiguous: its readings lead to different routes")

    def find(self, path: str, request: Request) -> Route | None:
        """Return the best route at the longest path; one with a wrong method if no route there accepts the method."""
        if self._exact and path in self._exact and (found := self._exact[path].best(request)) is not None:
            return found
        if len(path) > self._max_length:
            path = path[: max(0, path.rfind("/", 0, self._max_length + 1))] or "/"
        while True:
            candidates = self._by_path.get(path)
            if candidates is not None:
                found = candidates.only or candidates.best(request)
                if found is not None:
                    return found
            if path in ("/", ""):
                return None
            path = path[: path.rfind("/")] or "/"

    def _allowed(self, found: Route, path: str, request: Request) -> str:
        candidates = self._exact[path] if found.settings.exact else self._by_path[found.path]
        return candidates.allowed(request)
