"""Redirects (RFC 9110 section 15.4): the action of a route, and the gateway of a `redirect` listener."""

import re
from collections.abc import Callable
from typing import Final

from gproxy.config.sections.route import RouteSettings
from gproxy.config.types.route_action import RedirectTarget
from gproxy.gateway.candidates import bare_host
from gproxy.gateway.gateway import Gateway
from gproxy.gateway.route import Route
from gproxy.gateway.router import Router
from gproxy.http.errors import HTTPError
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.rewrite import visible
from gproxy.http.trust import Trust

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
        origin = to.origin
        if to.asks_for_host:
            if not request.host:
                raise HTTPError(400, "no Host header; this redirect needs one")
            origin = origin.replace("{host}", bare_host(request.host))
        if not to.with_path:
            return f"{origin}{to.path}"
        path = self._change(request.path) if self._change else request.path
        path = "/" + _leading_slashes.sub("", path, count=1).replace("\\", "%5C")
        return f"{origin}{to.path}{path}{f'?{request.query}' if request.query else ''}"


#: In seconds. Every route has a timeout; a redirect waits for nothing.
_TIMEOUT: Final = 1.0


def sending_to_https(gateway: Gateway, port: int) -> Gateway:
    """Return a gateway that redirects to https and has the same observers: 308 keeps method and body."""
    to = RedirectTarget.parse(f"https://{{host}}{'' if port == 443 else f':{port}'}{{path}}")
    route = Route(RouteSettings("redirect", redirect=to, status=308), timeout=_TIMEOUT, action=Redirect(to, 308, None))
    return Gateway(
        runtime=gateway.runtime,
        router=Router([route]),
        trust=Trust(gateway.trust.proxies, gateway.trust.identity),
        timeout=_TIMEOUT,
        observers=gateway.observers,
    )
