"""Requests that a page of another site makes with the user's cookies (Fetch Metadata; RFC 6454)."""

from collections.abc import Sequence
from typing import Final

from gproxy.config.types.origin import Origin
from gproxy.http.errors import HTTPError
from gproxy.http.request import Request

#: Methods that change nothing (RFC 9110 section 9.2.1), unless they may begin a WebSocket on some route.
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_USUAL_PORTS: Final = (":443", ":80")


def reject_cross_site(request: Request, origins: Sequence[Origin]) -> None:
    """Raise HTTPError 403 for a request that may change something, from a page that is neither ours nor of `origins`.

    A client that sends neither Sec-Fetch-Site nor Origin is no browser, and no page can make it send a request.
    """
    if request.method in _SAFE and not request.offered:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site in {"same-origin", "none"} or (site is None and origin is None):
        return
    if origin is None or not (any(one.fits(origin) for one in origins) or (site is None and _is_ours(origin, request))):
        raise HTTPError(403, "the request comes from a page of another site", reason="cross_site")


def _is_ours(origin: str, request: Request) -> bool:
    return _host(origin.partition("://")[2]) == _host(request.host)


def _host(authority: str) -> str:
    host = authority.lower()
    return next((host.removesuffix(port) for port in _USUAL_PORTS if host.endswith(port)), host)
