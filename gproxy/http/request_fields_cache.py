"""The header lines of a request in HTTP/1.1: their framing, and their meaning parsed once while a client repeats them.

On a kept-alive connection most requests differ only in their first line. So a connection keeps the last block and the
result; a request with the same bytes costs one comparison and one dict copy. A client that opens a new connection for
each request repeats the block on all of them, so the listener keeps the first blocks of some connections too.
"""

from typing import Final

from gproxy.http.field_names import HOP_BY_HOP, SPOOFABLE
from gproxy.http.forwarding import accepts_trailers, connection_options, offered_protocols, strip_hop_by_hop
from gproxy.http.framing import request_framing
from gproxy.http.request_fields import FieldRules, RequestFields
from gproxy.http.trust import Trust
from gproxy.http.wire import host_of, parse_fields

#: The number of blocks that are kept for later connections, and the largest such block in bytes.
_BLOCKS: Final = 256
_LARGEST: Final = 1024


class RequestFieldsCache:
    """A cache of parsed blocks for all connections of a listener; cleared completely when full."""

    def __init__(self, trust: Trust, *, max_fields: int, max_body: int) -> None:
        #: What HTTP/1.1 has in common with other protocols.
        self.rules = FieldRules(trust, max_fields=max_fields, max_body=max_body)
        self._blocks: dict[tuple[bytes, int, str], RequestFields] = {}

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
        rules = self.rules
        fields = parse_fields(block, rules.names)
        rules.check_count(fields.count)
        received, uses = fields.headers, fields.uses
        host = host_of(received, minor)
        if not uses:  # PERF: nothing is removed
            return RequestFields(block, minor, received, received, host, peer)
        read = RequestFields(block, minor, received, received.copy(), host, peer)
        if uses & HOP_BY_HOP:
            self._read_hop_by_hop(read, fields.hop_by_hop)
        if uses & SPOOFABLE:
            rules.clean(read, peer)
        return read

    def _read_hop_by_hop(self, read: RequestFields, names: list[str]) -> None:
        """Act on the fields that frame the message or concern the connection, and remove them."""
        headers, minor = read.headers, read.minor
        self.rules.set_framing(read, request_framing(headers, minor))
        options = connection_options(headers)
        read.keep = "close" not in options and (minor == 1 or "keep-alive" in options)
        if minor and "upgrade" in options:  # ignored in HTTP/1.0: RFC 9110 section 7.8
            read.offered = offered_protocols(headers.get("upgrade") or "")
        self.rules.take_expect(read)
        trailers = accepts_trailers(headers, options)
        strip_hop_by_hop(headers, options, names)
        if trailers:
            headers.put("TE", "te", "trailers")

    def _remember(self, fields: RequestFields, peer: str) -> None:
        if len(self._blocks) >= _BLOCKS:
            self._blocks.clear()
        self._blocks[fields.block, fields.minor, peer] = fields
