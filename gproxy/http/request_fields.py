"""The meaning of a block of header lines, parsed once while a client repeats the block.

On a kept-alive connection most requests differ only in their first line. So a connection keeps the last block and the
result; a request with the same bytes costs one comparison and one dict copy. A client that opens a new connection for
each request repeats the block on all of them, so the listener keeps the first blocks of some connections too.
"""

from typing import Final

from gproxy.http.errors import BadMessage
from gproxy.http.field_names import HOP_BY_HOP, SPOOFABLE, FieldNames
from gproxy.http.forwarding import TUNNELLED, accepts_trailers, connection_options, strip_hop_by_hop
from gproxy.http.framing import request_framing
from gproxy.http.header_names import HOP_BY_HOP as HOP_BY_HOP_NAMES
from gproxy.http.headers import Headers
from gproxy.http.trust import Trust
from gproxy.http.wire import host_of, parse_fields

#: The number of blocks that are kept for later connections, and the largest such block in bytes.
_BLOCKS: Final = 256
_LARGEST: Final = 1024
#: The longest `Expect` or `Upgrade` that is parsed, in characters.
_LONGEST_LIST: Final = 256


class RequestFields:
    """The result of parsing; depends only on the block, the minor version and the peer."""

    __slots__ = (
        "awaits_continue", "block", "client", "framing", "headers", "host", "keep", "minor", "received", "request_id",
        "upgrade",
    )  # fmt: skip

    def __init__(self, block: bytes, minor: int, received: Headers, headers: Headers, host: str, client: str) -> None:
        self.block = block
        self.minor = minor
        #: All fields, hop-by-hop fields included.
        self.received = received
        #: The fields for handlers; each request gets a copy.
        self.headers = headers
        self.host = host
        #: The client's address after trusted proxies.
        self.client = client
        #: The request id of a trusted proxy, else empty.
        self.request_id = ""
        self.framing = 0
        #: True if the client wants to keep the connection.
        self.keep = bool(minor)
        #: True if the client waits for `100 Continue` before it sends the body.
        self.awaits_continue = False
        #: The protocol that the client asks for in Upgrade, if the gateway tunnels it.
        self.upgrade: str | None = None

    def with_headers(self, headers: Headers) -> "RequestFields":
        """Return the same with other fields for handlers."""
        twin = RequestFields(self.block, self.minor, self.received, headers, self.host, self.client)
        twin.request_id, twin.framing, twin.keep = self.request_id, self.framing, self.keep
        twin.awaits_continue, twin.upgrade = self.awaits_continue, self.upgrade
        return twin


#: The result for no block.
NO_FIELDS: Final = RequestFields(b"", 1, Headers(), Headers(), "", "")


class RequestFieldsCache:
    """A cache of parsed blocks for all connections of a listener; cleared completely when full."""

    def __init__(self, trust: Trust, *, max_fields: int, max_body: int) -> None:
        self._trust = trust
        self._max_fields = max_fields
        self._max_body = max_body
        self._names = FieldNames(self._uses_of)
        self._blocks: dict[tuple[bytes, int, str], RequestFields] = {}

    def _uses_of(self, name: str, plain: str) -> int:
        uses = HOP_BY_HOP if name in HOP_BY_HOP_NAMES or name == "expect" else 0
        return uses | SPOOFABLE if self._trust.may_touch(name, plain) else uses

    def fields(self, block: bytes, minor: int, peer: str, *, keep: bool = True) -> RequestFields:
        """Return the parsed fields of the block; `keep` them for later connections. Raises BadMessage as `read`."""
        found = self._blocks.get((block, minor, peer))
        if found is None:
            found = self.read(block, minor, peer)
            if keep and len(block) <= _LARGEST:
                self._remember(found, peer)
        return found

    def read(self, block: bytes, minor: int, peer: str) -> RequestFields:
        """Parse the block.

        Raises BadMessage: 400 for an ambiguous block, 413 or 431 over a limit, 417 for an unknown expectation.
        """
        fields = parse_fields(block, self._names)
        if fields.count > self._max_fields:
            raise BadMessage("too many header fields", 431)
        received, uses = fields.headers, fields.uses
        host = host_of(received, minor)
        if not uses:  # PERF: nothing is removed
            return RequestFields(block, minor, received, received, host, peer)
        read = RequestFields(block, minor, received, received.copy(), host, peer)
        if uses & HOP_BY_HOP:
            self._read_hop_by_hop(read, fields.hop_by_hop)
        if uses & SPOOFABLE:
            read.client, read.request_id = self._trust.clean(peer, read.headers)
        return read

    def _read_hop_by_hop(self, read: RequestFields, names: list[str]) -> None:
        """Act on the fields that frame the message or concern the connection, and remove them."""
        headers, minor = read.headers, read.minor
        read.framing = framing = request_framing(headers, minor)
        if 0 < self._max_body < framing:
            raise BadMessage(f"request body exceeds the limit of {self._max_body} bytes", 413)
        options = connection_options(headers)
        read.keep = "close" not in options and (minor == 1 or "keep-alive" in options)
        read.upgrade = _upgrade(headers, options) if minor and not framing else None
        expect = headers.pop("expect")
        if expect and minor and not _is_continue(expect):  # ignored in HTTP/1.0: RFC 9110 section 10.1.1
            raise BadMessage("unknown expectation; only 100-continue is supported", 417)
        read.awaits_continue = bool(expect and minor)
        trailers = accepts_trailers(headers, options)
        strip_hop_by_hop(headers, options, names)
        if trailers:
            headers.put("TE", "te", "trailers")

    def _remember(self, fields: RequestFields, peer: str) -> None:
        if len(self._blocks) >= _BLOCKS:
            self._blocks.clear()
        self._blocks[fields.block, fields.minor, peer] = fields


def _is_continue(expect: str) -> bool:
    return len(expect) <= _LONGEST_LIST and _elements(expect) <= {"100-continue", ""}


def _upgrade(headers: Headers, options: frozenset[str]) -> str | None:
    """Return the protocol to tunnel (RFC 9110 section 7.8).

    Connection must name Upgrade. Protocols other than websocket are dropped, h2c above all.
    """
    if "upgrade" not in options:
        return None
    upgrade = headers.get("upgrade") or ""
    return next(iter(_elements(upgrade) & TUNNELLED), None) if len(upgrade) <= _LONGEST_LIST else None


def _elements(value: str) -> set[str]:
    return {element.strip(" \t").lower() for element in value.split(",")}
