"""What answers on a listener that only sends its clients to https."""

from typing import Final

from gproxy.config.sections.route import RouteSettings
from gproxy.config.types.route_action import Location
from gproxy.gateway.chain import compose
from gproxy.gateway.gateway import Gateway
from gproxy.gateway.redirect import Redirect
from gproxy.gateway.route import Route
from gproxy.gateway.router import Router

#: Every route has one; nothing is waited for here, in seconds.
_TIMEOUT: Final = 1.0


def sending_to_https(gateway: Gateway, port: int) -> Gateway:
    """A gateway beside that one, with its access log, and one route: always 308, so method and body stay."""
    to = Location.parse(f"https://{{host}}{'' if port == 443 else f':{port}'}{{path}}")
    route = Route(RouteSettings("redirect", redirect=to, status=308), timeout=_TIMEOUT)
    route.last = Redirect(to, 308, None)
    route.inner = compose([], route.last)
    twin = Gateway(
        router=Router([route]),
        handlers={},
        upstreams=(),
        identity=gateway.identity,
        trusted=gateway.trusted,
        timeout=_TIMEOUT,
        access_log=gateway.access_log,
    )
    twin.assemble(())
    return twin
