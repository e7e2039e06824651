"""What a block of header lines means, worked out once for as long as a client repeats it.

On a kept-alive connection most requests differ in their first line only. So a connection remembers the last block
and what came of it; the next request, if its block is the same bytes, costs one comparison and one dict copy. A
client that makes a new connection each time says the same on all of them, so the server remembers some blocks too.
"""

from dataclasses import dataclass
from typing import Final

from gproxy.http.errors import BadMessage
from gproxy.http.forwarding import TUNNELLED, accepts_trailers, connection_options, strip_hop_by_hop
from gproxy.http.framing import request_framing
from gproxy.http.headers import Headers
from gproxy.http.trust import Trust
from gproxy.http.wire import host_of, parse_fields

#: How many blocks are remembered for connections to come, and how large they may be, in bytes.
_BLOCKS: Final = 256
_LARGEST: Final = 1024
#: An `Expect` or `Upgrade` that is longer is not understood, in characters.
_LONGEST_LIST: Final = 256


@dataclass  # PERF: compiled, its fields are found faster than a NamedTuple's
class RequestFields:
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
    #: Does the client wait for `100 Continue` before it sends the body?
    awaits_continue: bool
    #: After trusted proxies.
    client: str
    #: From a trusted proxy, else empty.
    request_id: str
    #: A protocol that the client wants to change to, if it is one that we tunnel.
    upgrade: str | None


class RequestFieldsCache:
    """What some blocks mean, for all connections of a server; forgotten as a whole when there are too many."""

    def __init__(self, trust: Trust, *, max_fields: int, max_body: int) -> None:
        self._trust = trust
        self._max_fields = max_fields
        self._max_body = max_body
        self._blocks: dict[tuple[bytes, int, str], RequestFields] = {}

    def fields(self, block: bytes, minor: int, peer: str) -> RequestFields:
        """What the block means. Raises BadMessage."""
        found = self._blocks.get((block, minor, peer))
        if found is None:
            found = self._read(block, minor, peer)
            if len(block) <= _LARGEST:
                self._remember(found, peer)
        return found

    def _read(self, block: bytes, minor: int, peer: str) -> RequestFields:
        """Everything that follows from the block.

        Raises BadMessage: 400 for what is ambiguous, 413 and 431 for what is too much, 417.
        """
        fields = parse_fields(block)
        if len(fields) > self._max_fields:
            raise BadMessage("too many header fields", 431)
        headers = Headers.parsed(fields)
        host = host_of(fields, minor)
        framing = request_framing(headers, minor)
        if 0 < self._max_body < framing:
            raise BadMessage(f"a body may have {self._max_body} bytes here", 413)
        options = connection_options(headers)
        keep = "close" not in options and (minor == 1 or "keep-alive" in options)
        upgrade = _upgrade(headers, options) if minor and not framing else None
        expect = headers.pop("expect")
        if expect and minor and not _is_continue(expect):  # in HTTP/1.0 nobody knew it: RFC 9110 section 10.1.1
            raise BadMessage("only 100-continue can be expected", 417)
        waits = bool(expect and minor)
        trailers = accepts_trailers(headers, options)
        strip_hop_by_hop(headers, options)
        if trailers:
            headers.put("TE", "te", "trailers")
        client, request_id = self._trust.clean(peer, headers)
        return RequestFields(block, minor, fields, headers, host, framing, keep, waits, client, request_id, upgrade)

    def _remember(self, fields: RequestFields, peer: str) -> None:
        if len(self._blocks) >= _BLOCKS:
            self._blocks.clear()
        self._blocks[fields.block, fields.minor, peer] = fields


def _is_continue(expect: str) -> bool:
    return len(expect) <= _LONGEST_LIST and _elements(expect) <= {"100-continue", ""}


def _upgrade(headers: Headers, options: frozenset[str]) -> str | None:
    """RFC 9110 section 7.8: only if Connection names it; others than websocket are dropped, h2c above all."""
    if "upgrade" not in options:
        return None
    upgrade = headers.get("upgrade") or ""
    return next(iter(_elements(upgrade) & TUNNELLED), None) if len(upgrade) <= _LONGEST_LIST else None


def _elements(value: str) -> set[str]:
    return {element.strip(" \t").lower() for element in value.split(",")}
