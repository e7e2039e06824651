"""Matching of a request to a route, by path, host, method and further conditions.

An exact path wins over patterns, and a pattern over prefixes; of prefixes the longest one wins. All patterns count as
one path. Of routes with the same path the exact host wins, then the longest `*.` host. Then the more specific route
wins: one with methods, then the one with the most conditions on headers, cookies and parameters; then the first in the
file.

Matching fails closed. A path that backends may read in several ways is rejected if these lead to different routes.
A route with the right path and the wrong method is a 405: shorter paths are not tried. A matcher that raises is an
error, never "no match".
"""

from collections.abc import Iterable, Sequence
from typing import Final

from gproxy.gateway.candidates import Candidates, PatternCandidates, allowed_by, best_of
from gproxy.gateway.route import Route
from gproxy.http.errors import BadMessage, HTTPError
from gproxy.http.request import Request
from gproxy.http.target import readings

#: The longest path that is matched with patterns, in characters: the work of a match grows with the length.
_LONGEST: Final = 2048


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
            for path in route.exact:
                exact.setdefault(path, []).append(route)
            for path in route.prefixes:
                prefixes.setdefault(path, []).append(route)
        self._by_path = {path: Candidates(group) for path, group in prefixes.items()}
        #: The length of the longest route path. PERF: it bounds the work for paths of thousands of segments.
        self._max_length = max(map(len, self._by_path), default=1)
        #: Exact routes, followed by the prefix routes of the same path.
        self._exact = {
            path: Candidates([*group, *prefixes.get(path.rstrip("/") or "/", ())]) for path, group in exact.items()
        }
        patterns = [route for route in self.routes if route.patterns]
        self._patterns = PatternCandidates(patterns) if patterns else None
        #: PERF: one check for each request if all routes have prefixes.
        self._has_others = bool(exact or patterns)

    def match(self, request: Request) -> Route:
        """Return the route.

        Raises HTTPError: 404 for none, 405 for a wrong method, 400 for an ambiguous path, 414 for one that is too long
        for patterns.
        """
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
        """Reject an ambiguous path if another reading of it leads to a route that may be stricter.

        Such a route has further handlers, other methods, or access rules that name one of the two routes.
        """
        for path in paths:
            other = self.find(path, request)
            if other is None:
                continue
            as_open = other.handler_names <= found.handler_names and other.accepts_method(request.method)
            is_ruled = other is not found and (other.is_in_rules or found.is_in_rules)
            if is_ruled or not as_open:
                raise HTTPError(400, "the path is ambiguous: its readings lead to different routes")

    def find(self, path: str, request: Request) -> Route | None:
        """Return the best route at the first path; one with a wrong method if no route there accepts the method."""
        if self._has_others and (found := self._before_prefixes(path, request)) is not None:
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

    def _before_prefixes(self, path: str, request: Request) -> Route | None:
        """Return the best route by an exact path or else by a pattern. Raises HTTPError 414 for a path too long."""
        if path in self._exact and (found := self._exact[path].best(request)) is not None:
            return found
        if self._patterns is None:
            return None
        if len(path) > _LONGEST:
            raise HTTPError(414, f"the path has more than {_LONGEST} characters")
        return best_of(self._patterns.at(path, request), request)

    def _allowed(self, found: Route, path: str, request: Request) -> str:
        if found.exact:
            return self._exact[path].allowed(request)
        if self._patterns is not None and found.has_pattern(path):
            return allowed_by(self._patterns.at(path, request), request)
        return self._by_path[found.prefix_of(path)].allowed(request)
