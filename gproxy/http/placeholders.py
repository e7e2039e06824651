"""The values of placeholders in the options of handlers and redirects, written so that they cannot end a line."""

import string
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from gproxy.http.request import Request
from gproxy.http.rewrite import is_visible, path_match
from gproxy.http.trust import UNIX_PEER, UNKNOWN_PEER
from gproxy.http.wire import bare_host

NO_GROUPS: Final[Mapping[str, str]] = {}
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
#: A user's name keeps these characters. `%` is escaped, so that two names never become the same text.
_IN_A_NAME: Final = string.punctuation.replace("%", "")


def _client(request: Request) -> str:
    return UNKNOWN_PEER if request.client == UNIX_PEER else request.client


def client_scheme(request: Request) -> str:
    """Return the client's scheme: that of a trusted proxy, or of the connection.

    An X-Forwarded-Proto comes from a trusted proxy: from others it was removed on receipt.
    """
    scheme = (request.headers.get("x-forwarded-proto") or "").lower()
    return scheme if scheme in _DEFAULT_PORTS else request.scheme


def _port(request: Request) -> str:
    """Return the port in Host, or the default port of the client's scheme."""
    host = request.host
    port = host[host.rfind("]") + 1 :].partition(":")[2]
    return port if port.isascii() and port.isdigit() else _DEFAULT_PORTS[client_scheme(request)]


def _route(request: Request) -> str:
    return request.route.name if request.route is not None else ""


#: Name of the placeholder -> its value.
VALUES: Final[dict[str, Callable[[Request], str]]] = {
    "client": _client,
    "host": lambda request: bare_host(request.host),
    "scheme": client_scheme,
    "method": lambda request: request.method,
    "path": lambda request: request.path,
    "query": lambda request: request.query,
    "id": lambda request: request.id,
    "user": lambda request: request.user,
    "route": _route,
    "port": _port,
}


def header_value(parts: Sequence[str], request: Request, groups: Mapping[str, str] = NO_GROUPS) -> str:
    """Return a header value from the parts of a template; a name that is no placeholder is a group.

    Values are visible ASCII: other characters are percent-encoded, as UTF-8. What the request has is text of the
    client, and of handlers, which may assign any text.
    """
    texts = [_value(part, request, groups) if index % 2 else part for index, part in enumerate(parts)]
    return "".join(texts).strip(" \t")


def path_groups(request: Request) -> Mapping[str, str]:
    """Return the named groups of the pattern by which the request's route has matched; empty without a pattern.

    The characters of a group are percent-encoded unless they are visible ASCII and not `%`, so that two paths never
    give the same text. Raises HTTPError 400, see `path_match`.
    """
    patterns = request.route.patterns if request.route is not None else ()
    match = path_match(request.path, patterns) if patterns else None
    if match is None:
        return NO_GROUPS
    return {name: quote(part, safe=_IN_A_NAME, encoding="latin-1") for name, part in match.groupdict("").items()}


def _value(name: str, request: Request, groups: Mapping[str, str]) -> str:
    read = VALUES.get(name)
    return groups.get(name, "") if read is None else _written(name, read(request))


def _written(name: str, value: str) -> str:
    if name == "user":
        return quote(value, safe=_IN_A_NAME, errors="replace")
    return value if not value or is_visible(value) else quote(value, safe=string.punctuation, errors="replace")


def url_value(name: str, request: Request) -> str:
    """Return the value for one segment of a path or one parameter of a query: all delimiters are percent-encoded."""
    return quote(VALUES[name](request), safe="", errors="replace")
