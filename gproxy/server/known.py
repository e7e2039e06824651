"""What a block of header lines means, worked out once for as long as a client repeats it.

On a kept-alive connection most requests differ in their first line only. So a connection remembers the last block
and what came of it; the next request, if its block is the same bytes, costs one comparison and one dict copy.
"""

from typing import NamedTuple

from gproxy.gateway.gateway import Gateway
from gproxy.http.errors import BadMessage
from gproxy.http.forwarding import connection_options, strip_hop_by_hop
from gproxy.http.framing import request_framing
from gproxy.http.headers import Headers
from gproxy.http.wire import host_of, parse_fields


class KnownFields(NamedTuple):
    """Depends on nothing but the block, the minor version and the peer."""

    block: bytes
    minor: int
    fields: list[tuple[str, str]]
    #: As handlers get them; to be copied.
    headers: Headers
    host: str
    framing: int
    #: Does the client want the connection to go on?
    keep: bool
    expect: str
    #: After trusted proxies.
    client: str
    #: From a trusted proxy, else empty.
    request_id: str


def learn(block: bytes, minor: int, *, peer: str, max_fields: int, gateway: Gateway) -> KnownFields:
    """Everything that follows from the block. Raises BadMessage: 400 for what is ambiguous, 431 for too many."""
    fields = parse_fields(block)
    if len(fields) > max_fields:
        raise BadMessage("too many header fields", 431)
    headers = Headers.parsed(fields)
    host = host_of(fields, minor)
    framing = request_framing(headers, minor)
    options = connection_options(headers)
    keep = "close" not in options and (minor == 1 or "keep-alive" in options)
    expect = (headers.pop("expect") or "") if minor else ""
    strip_hop_by_hop(headers, options)
    client, request_id = gateway.admit(peer, headers)
    return KnownFields(block, minor, fields, headers, host, framing, keep, expect, client, request_id)
