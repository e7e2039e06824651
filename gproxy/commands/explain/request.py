"""The request of `gproxy explain`: from command line arguments to the request that a connection would receive."""

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import cast

from gproxy.commands.explain.report import explain, rejected
from gproxy.config.ini.convert import Mistake, convert
from gproxy.config.sections.server import ServerSettings
from gproxy.config.sections.settings import Settings
from gproxy.config.types import Address
from gproxy.gateway.gateway import Gateway
from gproxy.gateway.listener_gateway import listener_gateway
from gproxy.http.body import NO_BODY, Body
from gproxy.http.errors import BadMessage
from gproxy.http.framing import CHUNKED, Source, reader
from gproxy.http.request import Received, Request
from gproxy.http.request_fields_cache import RequestFieldsCache
from gproxy.http.tls import TLS
from gproxy.http.trust import UNIX_PEER
from gproxy.http.wire import parse_request_line

#: The Host of a request that has none.
HOST = "localhost"
_is_url = re.compile(r"(?i:(https?))://([^/?]*)").match


def answer(
    method: str,
    target: str,
    lines: Sequence[str],
    peer: str,
    settings: Settings,
    gateway: Gateway,
    *,
    listener: str | None = None,
    claims: str | None = None,
) -> str:
    """Return the report of the request at a listener, by default the first that serves routes.

    Raise ValueError for an invalid argument.
    """
    gateway = listener_gateway(gateway, _address(listener, settings.server.bind), lambda _: False)
    for line in lines:
        if not line.partition(":")[1]:
            raise ValueError(f"-H: expected 'NAME: VALUE'; found {line!r}")
    try:
        peer = UNIX_PEER if peer == UNIX_PEER else str(ip_address(peer))
    except ValueError:
        raise ValueError(f"--from: expected an address or unix; found {peer!r}") from None
    try:
        request = _received(method, target, lines, peer, settings.server, gateway)
        return explain(request, settings, gateway, _claims(claims) if claims is not None else None)
    except BadMessage as error:
        return rejected(method, target, error.status, error.detail)


def _claims(text: str) -> dict[str, str]:
    """Parse `sub: alice, role: admin`. Raise ValueError."""
    try:
        claims: dict[str, str] = convert(dict[str, str], text, lambda _: None)
    except Mistake as mistake:
        raise ValueError(f"--as: {mistake}") from None
    return claims


def _address(listener: str | None, bind: Sequence[Address]) -> Address:
    """Return the address of `bind` that is written so. Raise ValueError if there is none."""
    if listener is None:
        return next((address for address in bind if not address.redirect), bind[0])
    found = next((address for address in bind if str(address) == listener), None)
    if found is None:
        known = ", ".join(map(str, bind))
        raise ValueError(f"--listener: expected an address of [server] bind: {known}; found {listener!r}")
    return found


def _received(
    method: str, target: str, lines: Sequence[str], peer: str, limits: ServerSettings, gateway: Gateway
) -> Request:
    """Return the request. `target` is a path or a URL, `lines` are headers. Raise BadMessage if a head is invalid."""
    url = _is_url(target)
    if not any(line.lower().startswith("host:") for line in lines):
        lines = [f"Host: {url[2] if url else HOST}", *lines]
    line = parse_request_line(f"{method} {target} HTTP/1.1".encode())
    block = "".join(f"{one}\r\n" for one in [*lines, ""]).encode()
    fields = RequestFieldsCache(gateway.trust, max_fields=limits.max_fields, max_body=limits.max_body).read(
        block, 1, peer
    )
    tls = TLS("", "", "") if url and url[1].lower() == "https" else None
    received = Received(line.method, line.target, 1, fields.received, peer, tls)
    headers = fields.headers.copy()
    body = NO_BODY
    if fields.framing:
        rest = reader(fields.framing, cast("Source", None))  # the body is never read
        body = Body(b"", rest, None if fields.framing == CHUNKED else fields.framing)
    request = Request(received, headers, line.authority or fields.host, line.path, line.query, body)
    request.client = fields.client
    request.id = fields.request_id
    request.offered = fields.offered
    return request
