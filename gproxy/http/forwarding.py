"""The fields that an intermediary removes: hop-by-hop fields and forbidden trailers (RFC 9110 sections 6.5, 7.6)."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from gproxy.http.errors import BadMessage
from gproxy.http.header_names import END_TO_END, HOP_BY_HOP, carries_requests, is_protocol, plain_name
from gproxy.http.headers import Headers

#: The protocol of WebSockets in Upgrade, and in `:protocol`.
WEBSOCKET: Final = "websocket"
#: The longest Upgrade that is parsed, in characters.
_LONGEST_UPGRADE: Final = 256
#: The longest accepted list of connection options or transfer codings, in characters.
_LONGEST_LIST: Final = 1024
_NONE: Final[frozenset[str]] = frozenset()
#: Options that name no field, or a field that is removed anyway.
_ORDINARY: Final = frozenset({"close", "keep-alive", "te", "upgrade"})


def connection_options(headers: Headers) -> frozenset[str]:
    """Return the options of Connection, in lower case (RFC 9110 section 7.6.1). Raises BadMessage over the limit."""
    value = headers.lookup("connection")
    if value is not None and len(value) > _LONGEST_LIST:
        raise BadMessage("too many options in Connection")
    return _NONE if value is None else _options(value)


@lru_cache(256)
def _options(value: str) -> frozenset[str]:
    return frozenset(token.strip(" \t").lower() for token in value.split(","))


def strip_hop_by_hop(headers: Headers, options: frozenset[str], hop_by_hop: Iterable[str] = HOP_BY_HOP) -> None:
    """Remove the hop-by-hop fields with these names, and the fields that Connection names."""
    headers.discard_all(hop_by_hop)
    if not options <= _ORDINARY:
        nominated = options - END_TO_END
        headers.discard_all(frozenset(name for name in nominated if not name.startswith("x-forwarded-")))


def offered_protocols(upgrade: str) -> tuple[str, ...]:
    """Return the protocols of an Upgrade field, in order (RFC 9110 section 7.8); of a field over the limit, none."""
    if len(upgrade) > _LONGEST_UPGRADE:
        return ()
    tokens = (token.strip(" \t") for token in upgrade.split(","))
    return tuple(token for token in tokens if is_protocol(token) and not carries_requests(token))


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
    plain = ((plain_name(pair[0].lower()), pair) for pair in trailers)
    return [pair for name, pair in plain if name not in forbidden and not name.startswith("x-forwarded-")]
