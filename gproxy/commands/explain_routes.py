"""Why a route does not take a request: what it asks and the request does not have, or which one goes before it."""

from collections.abc import Callable
from typing import Final

from gproxy.commands.routes import paths
from gproxy.gateway.candidates import bare_host, endings
from gproxy.gateway.route import Condition, Route
from gproxy.http.header_names import SECRET_FIELDS
from gproxy.http.request import Request


def missing(route: Route, path: str, request: Request) -> str | None:
    """The first thing that the route asks and the request does not have; `path` is the normalized one."""
    if not _has_path(route, path):
        return f"path: only {paths(route)}"
    if route.hosts and not _pattern(route, request):
        return f"host: {bare_host(request.host) or 'none'} is not {' or '.join(route.hosts)}"
    failed = next((condition for condition in route.conditions if not condition.matches(request)), None)
    if failed:
        return f"{failed} is wanted; {_found(failed, request)}"
    if not route.accepts_method(request.method):
        return f"method: {request.method} is not {' or '.join(sorted(route.methods))}"
    return None


def _has_path(route: Route, path: str) -> bool:
    if route.settings.exact:
        return path == route.settings.path
    return route.path in ("/", path) or path.startswith(f"{route.path}/")


def _pattern(route: Route, request: Request) -> str:
    """The longest of its host patterns that takes the request's host; empty for none."""
    host = bare_host(request.host)
    return next((name for name in (host, *(f"*{end}" for end in endings(host))) if name in route.hosts), "")


def _found(condition: Condition, request: Request) -> str:
    found = condition.found(request)
    if found is None:
        return "there is none"
    secret = condition.kind == "cookie" or condition.name.lower() in SECRET_FIELDS
    return "another one is there" if secret else f"{found!r} is there"


#: In this order, what decides between two routes that both take a request.
_RANKS: Final[list[tuple[str, Callable[[Route, Request], int]]]] = [
    ("the longer path", lambda route, _: len(route.path)),
    ("the exact path", lambda route, _: route.settings.exact),
    ("the very host", lambda route, request: len(_pattern(route, request).removeprefix("*"))),
    ("methods", lambda route, _: bool(route.methods)),
    ("more matches", lambda route, _: len(route.conditions)),
]


def precedence(first: Route, route: Route, request: Request) -> str:
    """Why the first goes before the other one, which would take the request too."""
    what = next((what for what, rank in _RANKS if rank(first, request) > rank(route, request)), "the earlier line")
    return f"takes it too, but {first.name} has {what}"
