"""What an intermediary removes and adds (RFC 9110 section 7.6, RFC 7239), and whom it believes."""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from gproxy.http.errors import BadMessage
from gproxy.http.headers import Headers

#: Each connection's own business (RFC 9110 section 7.6.1), and what frames a message (RFC 9112 section 6).
HOP_BY_HOP: Final = frozenset(
    {
        "connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade",
        "content-length", "proxy-authenticate", "proxy-authorization", "proxy-authentication-info", "http2-settings",
    }
)  # fmt: skip
#: A response's Content-Length stays: for HEAD and 304 it speaks of a body that does not follow.
RESPONSE_HOP_BY_HOP: Final = frozenset(HOP_BY_HOP - {"content-length", "proxy-authenticate"})
#: What a peer on a unix socket is called, and what it is called in X-Forwarded-For (RFC 7239 section 6).
UNIX_PEER: Final = "unix"
UNKNOWN_PEER: Final = "unknown"
#: The only protocol that is tunnelled: h2c would carry requests past every handler (RFC 9113 section 3.1).
TUNNELLED: Final = frozenset({"websocket"})
#: What a trailer may not say, because it would frame, route, authenticate or change what was acted on already
#: (RFC 9110 section 6.5.1).
NO_TRAILERS: Final = HOP_BY_HOP | {
    "host", "authorization", "cookie", "set-cookie", "www-authenticate", "authentication-info", "content-encoding",
    "content-type", "content-range", "trailer", "cache-control", "expect", "max-forwards", "pragma", "range", "age",
    "date", "expires", "location", "retry-after", "vary", "warning", "if-match", "if-none-match", "if-modified-since",
    "if-unmodified-since", "if-range", "via", "forwarded", "x-real-ip", "x-request-id",
}  # fmt: skip
#: What says where a request comes from; from a peer that is not trusted none of it is believed or passed on.
_FORWARDED: Final = frozenset({"forwarded", "x-real-ip", "x-request-id"})
#: Never nominated by Connection: dropping these would change what the message means (RFC 9110 section 7.6.1), or make a
#: request look as if it came from the proxy that has passed on its client's Connection.
_NOT_TO_BE_NOMINATED: Final = frozenset({"host", "content-length", "authorization"}) | _FORWARDED
#: What the gateway decides on or takes away; never in a spelling that only the backend takes for the same.
_DECIDED_HERE: Final = frozenset({"host", "content-length", "transfer-encoding", "authorization"})

#: No list of connection options or transfer codings is longer, in characters.
_LONGEST_LIST: Final = 1024
_NONE: Final[frozenset[str]] = frozenset()
#: Options that name no field, or one that goes anyway.
_ORDINARY: Final = frozenset({"close", "keep-alive", "te", "upgrade"})
_odd = re.compile(r"[^a-z0-9-]")
_may_be_spoofed = re.compile(r"x-|forwarded|[^a-z0-9 -]").search


def connection_options(headers: Headers) -> frozenset[str]:
    """The tokens of Connection, in lower case (RFC 9110 section 7.6.1). Raises BadMessage if they are too many."""
    value = headers.lookup("connection")
    if value is not None and len(value) > _LONGEST_LIST:
        raise BadMessage("too many options in Connection")
    return _NONE if value is None else _options(value)


@lru_cache(256)
def _options(value: str) -> frozenset[str]:
    return frozenset(token.strip(" \t").lower() for token in value.split(","))


def strip_hop_by_hop(headers: Headers, options: frozenset[str], hop_by_hop: frozenset[str] = HOP_BY_HOP) -> None:
    """Remove what is meant for this connection only, Connection-named fields too."""
    headers.discard_all(hop_by_hop)
    if not options <= _ORDINARY:
        nominated = options - _NOT_TO_BE_NOMINATED
        headers.discard_all(frozenset(name for name in nominated if not name.startswith("x-forwarded-")))


def strip_spoofed(headers: Headers, identity: frozenset[str], *, trusted: bool) -> None:
    """Remove what a client may not say about itself: identity headers always, forwarding headers unless trusted.

    WSGI and CGI backends cannot tell `X_User_ID` from `X-User-ID`, so any spelling that they mix up counts.
    """
    names = headers.names()
    if not _may_be_spoofed(" ".join(names)) and identity.isdisjoint(names):
        return
    for name in list(names):
        plain = _odd.sub("-", name)
        if plain in identity or _is_spoofed(name, plain, trusted=trusted):
            headers.discard(name)


def _is_spoofed(name: str, plain: str, *, trusted: bool) -> bool:
    if plain.startswith("x-forwarded-") or plain in _FORWARDED:
        return name != plain or not trusted
    return name != plain and plain in _DECIDED_HERE


def max_forwards(headers: Headers) -> int | None:
    """How many more intermediaries may pass it on; None if it does not say (RFC 9110 section 7.6.2)."""
    value = headers.lookup("max-forwards") or ""
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None


def accepts_trailers(headers: Headers, options: frozenset[str]) -> bool:
    """RFC 9110 section 10.1.4; TE counts only if Connection names it."""
    codings = (headers.lookup("te") or "")[:_LONGEST_LIST].lower().split(",")
    return "te" in options and any(coding.strip(" \t") == "trailers" for coding in codings)


def passable(trailers: list[tuple[str, str]], forbidden: frozenset[str]) -> list[tuple[str, str]]:
    """The trailer fields that may be passed on, whatever their spelling."""
    plain = ((_odd.sub("-", pair[0].lower()), pair) for pair in trailers)
    return [pair for name, pair in plain if name not in forbidden and not name.startswith("x-forwarded-")]


def is_trusted(address: str, trusted: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Does this peer belong to the trusted proxies? Whoever may open our unix socket does."""
    if address == UNIX_PEER:
        return True
    if not trusted:
        return False
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    plain = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(plain in network for network in trusted)


def client_address(peer: str, headers: Headers, trusted: Sequence[IPv4Network | IPv6Network]) -> str:
    """The first address from the right that is no trusted proxy; what is left of it anybody could have written."""
    return hops(peer, headers, trusted)[-1]


def hops(peer: str, headers: Headers, trusted: Sequence[IPv4Network | IPv6Network]) -> list[str]:
    """The way back from the peer: each trusted proxy says from whom it has the request; the last one is the client."""
    found = [peer]
    told = (headers.get("x-forwarded-for") or "").split(",")
    while told and is_trusted(found[-1], trusted) and (address := _bare(told.pop().strip(" \t"))) is not None:
        found.append(address)
    return found


def _bare(hop: str) -> str | None:
    """The address in `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]:80`; None if it is none."""
    host = hop[1:].partition("]")[0] if hop.startswith("[") else hop
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        parsed = ip_address(host)
    except ValueError:
        return None
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def network_of(address: str) -> str:
    """An IPv6 client has a /64 to itself, and could take a new address of it for every request (RFC 6177)."""
    return _network_of(address) if ":" in address else address


@lru_cache(4096)
def _network_of(address: str) -> str:
    try:
        parsed = IPv6Address(address)
    except ValueError:
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ip_network((int(parsed), 64), strict=False))
