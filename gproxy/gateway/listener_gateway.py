"""The gateway of one listener: the routes that the listener has, and its redirect to https.

It is a view of the whole gateway, made at the start, so a route's `listener` costs nothing when a request is matched.
"""

from collections.abc import Callable
from typing import Final

from gproxy.config.sections.route import RouteSettings
from gproxy.config.types import Address
from gproxy.config.types.route_action import RedirectTarget
from gproxy.gateway.gateway import Gateway
from gproxy.gateway.redirect import Redirect
from gproxy.gateway.route import Route
from gproxy.gateway.router import Router
from gproxy.http.errors import BadMessage
from gproxy.http.placeholders import client_scheme
from gproxy.http.request import Request
from gproxy.http.target import readings

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


def listener_gateway(gateway: Gateway, address: Address, is_guarded: Callable[[str], bool]) -> Gateway:
    """Return the gateway for the address: without the routes of other listeners, and behind its redirect.

    `is_guarded` returns whether a host requires a client certificate.
    """
    every = gateway.router.routes
    routes = [route for route in every if not route.settings.listener or address in route.settings.listener]
    if len(routes) < len(every):
        gateway = gateway.with_router(Router(routes))
    return _redirecting(gateway, address, is_guarded) if address.redirect else gateway


def _redirecting(gateway: Gateway, address: Address, is_guarded: Callable[[str], bool]) -> Gateway:
    """Return a gateway that redirects to https, with exceptions: 308 keeps method and body."""
    port = "" if address.redirect == 443 else f":{address.redirect}"
    to = RedirectTarget.parse(f"https://{{host}}{port}{{path}}")
    settings = RouteSettings("redirect", redirect=to, status=308)
    route = Route(settings, timeout=_TIMEOUT, action=Redirect(to, 308, None), errors=gateway.errors)
    return gateway.with_router(RedirectRouter(route, gateway.router, address.excepted, is_guarded))
