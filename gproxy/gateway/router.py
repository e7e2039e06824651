"""Path, host, method and more: which route takes a request.

The longest path wins, at the same path an exact one; then the route of the very host, then that of the longest `*.`
host; then the route that asks for more: methods, then headers, cookies and parameters by their number; then the order
of the file. It fails closed: a path that readers may take for different ones that would lead to different routes is
refused, a route with the right path and the wrong method is a 405, never a reason to look at shorter paths, and a
matcher that raises is an error, never "no match".
"""

from collections.abc import Iterable, Sequence

from gproxy.gateway.candidates import Candidates
from gproxy.gateway.route import Route
from gproxy.http.errors import BadMessage, HTTPError
from gproxy.http.request import Request
from gproxy.http.target import readings


class WrongMethodError(HTTPError):
    """A route takes the path, none the method: 405 with Allow (RFC 9110 section 15.5.6)."""

    def __init__(self, route: Route, method: str, allowed: str) -> None:
        super().__init__(405, f"{method} is not allowed here", {"Allow": allowed})
        self.route = route


class Router:
    """All routes; a match costs one dict lookup for each segment of the path, however many routes there are."""

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
        #: Of no longer path is there a route: PERF, and a bound on the work for paths of thousands of segments.
        self._longest = max(map(len, self._by_path), default=1)
        #: With those that take this path and more, which come after them.
        self._exactly = {path: Candidates([*group, *prefixes.get(group[0].path, ())]) for path, group in exact.items()}

    def match(self, request: Request) -> Route:
        """The route. Raises HTTPError: 404 for none, 405 for a wrong method, 400 for a path of several meanings."""
        try:
            paths = readings(request.path)
        except BadMessage as error:
            raise HTTPError(400, error.detail) from None
        found = self.find(paths[0], request)
        if found is None:
            raise HTTPError(404, "no route matches this path")
        if len(paths) > 1:
            self._reject_detours(paths[1:], found, request)
        if not (found.takes_all or found.accepts_method(request.method)):
            raise WrongMethodError(found, request.method, self._allowed(found, paths[0], request))
        return found

    def _reject_detours(self, paths: Sequence[str], found: Route, request: Request) -> None:
        """Some backend may take the path for another one: then that one's route must not ask for more than ours."""
        for path in paths:
            other = self.find(path, request)
            if other is not None and not (
                other.handler_names <= found.handler_names and other.accepts_method(request.method)
            ):
                raise HTTPError(400, "the path can be read in ways that lead to different routes")

    def find(self, path: str, request: Request) -> Route | None:
        """The best route at the longest path; one with a wrong method if no other there has the right one."""
        if self._exactly and path in self._exactly and (found := self._exactly[path].best(request)) is not None:
            return found
        if len(path) > self._longest:
            path = path[: max(0, path.rfind("/", 0, self._longest + 1))] or "/"
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
        candidates = self._exactly[path] if found.settings.exact else self._by_path[found.path]
        return candidates.allowed(request)
