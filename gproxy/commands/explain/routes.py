"""Reasons why a route does not get a request: a missing condition, or a route that takes precedence."""

from collections.abc import Callable
from typing import Final

from gproxy.commands.routes import paths
from gproxy.gateway.candidates import endings
from gproxy.gateway.route import Condition, Route
from gproxy.http.header_names import is_likely_secret
from gproxy.http.request import Request
from gproxy.http.wire import bare_host


def missing(route: Route, path: str, request: Request) -> str | None:
    """Return the first condition that the request does not meet, or None. `path` is the normalized path."""
    if not _has_path(route, path):
        return f"path: only {paths(route)}"
    if route.hosts and not _pattern(route, request):
        return f"host: {bare_host(request.host) or 'none'} is not {' or '.join(route.hosts)}"
    failed = next((condition for condition in route.conditions if not condition.matches(request)), None)
    if failed:
        need = "must not match" if failed.is_negated else "is required"
        return f"{str(failed).removeprefix('not ')} {need}; {_found(failed, request)}"
    if not route.accepts_method(request.method):
        return f"method: {request.method} is not {' or '.join(sorted(route.methods))}"
    return None


def _has_path(route: Route, path: str) -> bool:
    return path in route.exact or route.has_pattern(path) or bool(route.prefix_of(path))


def _pattern(route: Route, request: Request) -> str:
    """Return the route's longest host pattern that matches the request's host, or an empty text."""
    host = bare_host(request.host)
    return next((name for name in (host, *(f"*{end}" for end in endings(host))) if name in route.hosts), "")


def _found(condition: Condition, request: Request) -> str:
    found = condition.found(request)
    if found is None:
        return "the request has none"
    secret = condition.kind == "cookie" or bool(is_likely_secret(condition.name))
    return "the request has another value" if secret else f"the request has {found!r}"


#: The criteria that decide between two routes that match the normalized path and the request, in order.
_RANKS: Final[list[tuple[str, Callable[[Route, str, Request], int]]]] = [
    ("the exact path", lambda route, path, _: path in route.exact),
    ("a pattern, which goes before prefixes", lambda route, path, _: route.has_pattern(path)),
    ("the longer path", lambda route, path, _: 0 if route.has_pattern(path) else len(route.prefix_of(path))),
    ("the more exact host", lambda route, _, request: len(_pattern(route, request).removeprefix("*"))),
    ("methods", lambda route, *_: bool(route.methods)),
    ("more matches", lambda route, *_: route.specificity[-1]),
]


def precedence(first: Route, route: Route, path: str, request: Request) -> str:
    """Return the reason why `first` takes precedence over `route`, which matches too."""
    ranks = ((what, rank(first, path, request), rank(route, path, request)) for what, rank in _RANKS)
    what = next((what for what, own, other in ranks if own > other), "the earlier line")
    return f"matches too, but {first.name} has {what}"
