"""The fields that an intermediary removes: hop-by-hop fields and forbidden trailers (RFC 9110 sections 6.5, 7.6)."""

import re
from functools import lru_cache
from typing import Final

from gproxy.http.errors import BadMessage
from gproxy.http.headers import Headers

#: Fields of a single connection (RFC 9110 section 7.6.1), and fields that frame a message (RFC 9112 section 6).
HOP_BY_HOP: Final = frozenset(
    {
        "connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade",
        "content-length", "proxy-authenticate", "proxy-authorization", "proxy-authentication-info", "http2-settings",
    }
)  # fmt: skip
#: A response keeps Content-Length: with HEAD and 304 it describes a body that does not follow.
RESPONSE_HOP_BY_HOP: Final = frozenset(HOP_BY_HOP - {"content-length", "proxy-authenticate"})
#: The only protocol that is tunnelled: h2c would carry requests past every handler (RFC 9113 section 3.1).
TUNNELLED: Final = frozenset({"websocket"})
#: Fields that a trailer must not have: they would frame, route, authenticate, or change what is already acted on (RFC
#: 9110 section 6.5.1).
NO_TRAILERS: Final = HOP_BY_HOP | {
    "host", "authorization", "cookie", "set-cookie", "www-authenticate", "authentication-info", "content-encoding",
    "content-type", "content-range", "trailer", "cache-control", "expect", "max-forwards", "pragma", "range", "age",
    "date", "expires", "location", "retry-after", "vary", "warning", "if-match", "if-none-match", "if-modified-since",
    "if-unmodified-since", "if-range", "via", "forwarded", "x-real-ip", "x-request-id",
}  # fmt: skip
#: Fields that describe the origin of a request; removed from requests of untrusted peers.
FORWARDED: Final = frozenset({"forwarded", "x-real-ip", "x-request-id"})
#: Fields that Connection cannot nominate: without them the message would mean something else (RFC 9110 section 7.6.1),
#: or a request would seem to come from the proxy that passed on its client's Connection.
_NOT_TO_BE_NOMINATED: Final = frozenset({"host", "content-length", "authorization"}) | FORWARDED

#: The longest accepted list of connection options or transfer codings, in characters.
_LONGEST_LIST: Final = 1024
_NONE: Final[frozenset[str]] = frozenset()
#: Options that name no field, or a field that is removed anyway.
_ORDINARY: Final = frozenset({"close", "keep-alive", "te", "upgrade"})
_odd = re.compile(r"[^a-z0-9-]")


def connection_options(headers: Headers) -> frozenset[str]:
    """Return the options of Connection, in lower case (RFC 9110 section 7.6.1). Raises BadMessage over the limit."""
    value = headers.lookup("connection")
    if value is not None and len(value) > _LONGEST_LIST:
        raise BadMessage("too many options in Connection")
    return _NONE if value is None else _options(value)


@lru_cache(256)
def _options(value: str) -> frozenset[str]:
    return frozenset(token.strip(" \t").lower() for token in value.split(","))


def strip_hop_by_hop(headers: Headers, options: frozenset[str], hop_by_hop: frozenset[str] = HOP_BY_HOP) -> None:
    """Remove hop-by-hop fields and the fields that Connection names."""
    headers.discard_all(hop_by_hop)
    if not options <= _ORDINARY:
        nominated = options - _NOT_TO_BE_NOMINATED
        headers.discard_all(frozenset(name for name in nominated if not name.startswith("x-forwarded-")))


def max_forwards(headers: Headers) -> int | None:
    """Return how many more intermediaries may forward the request; None without a limit (RFC 9110 section 7.6.2)."""
    value = headers.lookup("max-forwards") or ""
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None


def accepts_trailers(headers: Headers, options: frozenset[str]) -> bool:
    """Return whether the client accepts trailers (RFC 9110 section 10.1.4). TE counts only if Connection names it."""
    codings = (headers.lookup("te") or "")[:_LONGEST_LIST].lower().split(",")
    return "te" in options and any(coding.strip(" \t") == "trailers" for coding in codings)


def passable(trailers: list[tuple[str, str]], forbidden: frozenset[str]) -> list[tuple[str, str]]:
    """Return the trailer fields that may be passed on. Spellings with other separators count as the same name."""
    plain = ((_odd.sub("-", pair[0].lower()), pair) for pair in trailers)
    return [pair for name, pair in plain if name not in forbidden and not name.startswith("x-forwarded-")]
