"""Who sees what `gproxy dev` shows: programs on this machine, and no page of another site in its browser."""

from collections.abc import Iterable
from typing import Final

from gproxy.config.sections.route import RouteSettings
from gproxy.http.request import Request
from gproxy.http.trust import is_local, is_loopback

#: A proxy on this machine sets one of these fields, or one of the family: its clients may be anywhere.
_FORWARDING: Final = frozenset({"x-real-ip", "forwarded", "via"})
_FAMILY: Final = "x-forwarded-"


def _is_of_proxy(name: str) -> bool:
    key = name.lower()
    return key in _FORWARDING or key.startswith(_FAMILY)


class Audience:
    """The requests whose clients see pages of dev.

    A page of another site can send requests to this machine, and read the responses if the site's name leads here, or
    if a `cors` handler permits it. So the name in Host must be one of this machine, or of the settings.
    """

    def __init__(self, routes: Iterable[RouteSettings]) -> None:
        self._with_host = frozenset(route.name for route in routes if route.host)

    def includes(self, request: Request) -> bool:
        """Return whether the client of the request sees the pages."""
        received = request.received
        return (
            is_local(received.peer)
            and not any(map(_is_of_proxy, received.headers))
            and received.field("sec-fetch-site") != "cross-site"
            and self._is_named(request)
        )

    def _is_named(self, request: Request) -> bool:
        """Return whether the host is a name of this machine, or one for which the route was written."""
        host = _without_port(request.received.field("host"))
        is_own = host == "localhost" or host.endswith(".localhost") or is_loopback(host)
        return is_own or (request.route is not None and request.route.name in self._with_host)


def _without_port(authority: str) -> str:
    """Return the host of a Host field in lower case, without brackets."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0].lower()
