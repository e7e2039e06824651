"""Answers that send a client elsewhere (RFC 9110 section 15.4)."""

import re
from collections.abc import Callable
from typing import Final

from gproxy.config.sections.route import RouteSettings
from gproxy.config.types.route_action import RedirectTarget
from gproxy.gateway.candidates import bare_host
from gproxy.gateway.chain import compose
from gproxy.gateway.gateway import Gateway
from gproxy.gateway.route import Route
from gproxy.gateway.router import Router
from gproxy.http.errors import HTTPError
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.rewrite import visible
from gproxy.http.trust import Trust

#: Where browsers begin to read a host: `//` and, to them the same, `/\\`.
_beginning = re.compile(r"[/\\]*")


class Redirect:
    """Answers every request with a Location made from it; `change` is what becomes of the path first."""

    def __init__(self, to: RedirectTarget, status: int, change: Callable[[str], str] | None) -> None:
        self._to = to
        self._status = status
        self._change = change

    def __call__(self, request: Request) -> Response:
        """Raises HTTPError 400 for a client that says no host where one is needed."""
        return Response(self._status, b"", {"Location": visible(self.location(request))})

    def location(self, request: Request) -> str:
        """Where this request is sent. A path must not begin a host, nor end one: it has exactly one slash in front."""
        to = self._to
        origin = to.origin
        if to.asks_for_host:
            if not request.host:
                raise HTTPError(400, "a Host is needed to say where this has moved")
            origin = origin.replace("{host}", bare_host(request.host))
        if not to.with_path:
            return f"{origin}{to.path}"
        path = self._change(request.path) if self._change else request.path
        path = "/" + _beginning.sub("", path, count=1).replace("\\", "%5C")
        return f"{origin}{to.path}{path}{f'?{request.query}' if request.query else ''}"


#: Every route has one; nothing is waited for here, in seconds.
_TIMEOUT: Final = 1.0


def sending_to_https(gateway: Gateway, port: int) -> Gateway:
    """A gateway beside that one, with its access log, and one route: always 308, so method and body stay."""
    to = RedirectTarget.parse(f"https://{{host}}{'' if port == 443 else f':{port}'}{{path}}")
    route = Route(RouteSettings("redirect", redirect=to, status=308), timeout=_TIMEOUT)
    route.action = Redirect(to, 308, None)
    route.route_chain = compose([], route.action)
    twin = Gateway(
        router=Router([route]),
        handlers={},
        upstreams=(),
        trust=Trust(gateway.trust.proxies, gateway.trust.identity),
        timeout=_TIMEOUT,
        access_log=gateway.access_log,
    )
    twin.assemble(())
    return twin
