"""Redirects (RFC 9110 section 15.4): the action of a route, and the gateway of a `redirect` listener."""

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from gproxy.config.sections.route import RouteSettings
from gproxy.config.types import Address
from gproxy.config.types.route_action import RedirectTarget
from gproxy.config.types.template import Template
from gproxy.gateway.gateway import Gateway
from gproxy.gateway.route import Route, client_scheme
from gproxy.gateway.router import Router
from gproxy.http.errors import BadMessage, HTTPError
from gproxy.http.placeholders import VALUES, url_value
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.rewrite import visible
from gproxy.http.target import readings

#: Slashes at the start of a path: browsers read a host after `//`, and treat `/\\` alike.
_leading_slashes = re.compile(r"[/\\]*")


class Redirect:
    """An action that redirects every request to a Location made from its own URL; `change` rewrites the path first."""

    def __init__(self, to: RedirectTarget, status: int, change: Callable[[str], str] | None) -> None:
        self._to = to
        self._status = status
        self._change = change

    def __call__(self, request: Request) -> Response:
        """Return the redirect. Raises HTTPError 400 if the target needs the host and the request has none."""
        return Response(self._status, b"", {"Location": visible(self.location(request))})

    def location(self, request: Request) -> str:
        """Return the Location. The path gets exactly one leading slash, so that it cannot begin or extend a host."""
        to = self._to
        if to.asks_for_host and not request.host:
            raise HTTPError(400, "no Host header; this redirect needs one")
        origin = "".join([VALUES[part](request) if index % 2 else part for index, part in enumerate(to.origin.parts)])
        path = self._filled(to.path, request)
        if to.with_path:
            path += self._path_and_query(request)
        if path:
            path = "/" + _leading_slashes.sub("", path, count=1)
        return f"{origin}{path}{self._filled(to.query, request)}{to.fragment}"

    def _path_and_query(self, request: Request) -> str:
        path = self._change(request.path) if self._change else request.path
        path = "/" + _leading_slashes.sub("", path, count=1).replace("\\", "%5C")
        return f"{path}?{request.query}" if request.query else path

    def _filled(self, part: Template, request: Request) -> str:
        """Return a path or a query. Values are percent-encoded, except a `{query}` that stands for a whole query."""
        filled = part.parts[0]
        for name, literal in zip(part.parts[1::2], part.parts[2::2], strict=True):
            if name == "path":
                filled += quote(self._path_and_query(request), safe="")
            elif name == "query" and filled.endswith(("?", "&")):
                filled += request.query
            else:
                filled += url_value(name, request)
            filled += literal
        return filled


#: In seconds. Every route has a timeout; a redirect waits for nothing.
_TIMEOUT: Final = 1.0


class RedirectRouter(Router):
    """The router of a `redirect` listener: to https, except for paths that the ordinary routes serve.

    The ordinary routes also take the requests that a trusted proxy has received by https: a redirect would lead to the
    same proxy again. They take no request for a host that requires a client certificate; `is_guarded` knows these.
    """

    def __init__(
        self, redirect: Route, ordinary: Router, excepted: tuple[str, ...], is_guarded: Callable[[str], bool]
    ) -> None:
        super().__init__([redirect])
        self.routes = [redirect, *ordinary.routes]
        self._ordinary = ordinary
        self._below = tuple(f"{path}/" for path in excepted)
        self._is_guarded = is_guarded

    def match(self, request: Request) -> Route:
        """Return the redirect or, for an exception, the ordinary route. Raises what `Router.match` does."""
        return self._ordinary.match(request) if self._is_excepted(request) else super().match(request)

    def _is_excepted(self, request: Request) -> bool:
        if client_scheme(request) != "https" and not self._is_below(request.path):
            return False
        return not self._is_guarded(request.host)

    def _is_below(self, path: str) -> bool:
        """Return whether the path is an exception in all its readings; otherwise a redirect is the safe answer."""
        if not self._below:
            return False
        try:
            return all(f"{one}/".startswith(self._below) for one in readings(path))
        except BadMessage:
            return False


def redirecting(gateway: Gateway, address: Address, is_guarded: Callable[[str], bool]) -> Gateway:
    """Return the gateway of a `redirect` listener, with the parts of `gateway`: 308 keeps method and body."""
    port = "" if address.redirect == 443 else f":{address.redirect}"
    to = RedirectTarget.parse(f"https://{{host}}{port}{{path}}")
    route = Route(RouteSettings("redirect", redirect=to, status=308), timeout=_TIMEOUT, action=Redirect(to, 308, None))
    return gateway.with_router(RedirectRouter(route, gateway.router, address.excepted, is_guarded))
