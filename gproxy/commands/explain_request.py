"""A request as if it had come over a connection, from what somebody has typed: for `gproxy explain`."""

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import cast

from gproxy.commands.explain import explain, refused
from gproxy.config.sections.server import ServerSettings
from gproxy.config.sections.settings import Settings
from gproxy.gateway.gateway import Gateway
from gproxy.http.body import NO_BODY, Body
from gproxy.http.errors import BadMessage
from gproxy.http.framing import CHUNKED, Source, reader
from gproxy.http.request import Received, Request
from gproxy.http.request_fields import RequestFieldsCache
from gproxy.http.tls import TLS
from gproxy.http.trust import UNIX_PEER
from gproxy.http.wire import parse_request_line

#: The Host of a question that has none.
HOST = "localhost"
_is_url = re.compile(r"(?i:(https?))://([^/?]*)").match


def answer(method: str, target: str, lines: Sequence[str], peer: str, settings: Settings, gateway: Gateway) -> str:
    """What would become of it. Raises ValueError for what nobody could send."""
    for line in lines:
        if not line.partition(":")[1]:
            raise ValueError(f"-H: expected 'NAME: VALUE'; found {line!r}")
    try:
        peer = UNIX_PEER if peer == UNIX_PEER else str(ip_address(peer))
    except ValueError:
        raise ValueError(f"--from: expected an address or unix; found {peer!r}") from None
    try:
        return explain(_asked(method, target, lines, peer, settings.server, gateway), settings, gateway)
    except BadMessage as error:
        return refused(method, target, error.status, error.detail)


def _asked(
    method: str, target: str, lines: Sequence[str], peer: str, limits: ServerSettings, gateway: Gateway
) -> Request:
    """What the gateway would get; `target` is a path or a URL, `lines` are headers. Raises BadMessage as it would."""
    url = _is_url(target)
    if not any(line.lower().startswith("host:") for line in lines):
        lines = [f"Host: {url[2] if url else HOST}", *lines]
    line = parse_request_line(f"{method} {target} HTTP/1.1".encode())
    block = "".join(f"{one}\r\n" for one in [*lines, ""]).encode()
    known = RequestFieldsCache(gateway.trust, max_fields=limits.max_fields, max_body=limits.max_body).fields(
        block, 1, peer
    )
    tls = TLS("", "", "") if url and url[1].lower() == "https" else None
    received = Received(line.method, line.target, 1, known.fields, peer, tls)
    headers = known.headers.copy()
    body = NO_BODY
    if known.framing:
        rest = reader(known.framing, cast("Source", None))  # nobody will read it
        body = Body(b"", rest, None if known.framing == CHUNKED else known.framing)
    request = Request(received, headers, line.authority or known.host, line.path, line.query, body)
    request.client = known.client
    request.id = known.request_id
    request.upgrade = known.upgrade if line.method == "GET" else None
    return request
