"""What the fields of a request mean, in every protocol; how HTTP/1.1 frames a message is in `request_fields_cache`."""

from typing import Final

from gproxy.http.errors import BadMessage
from gproxy.http.field_names import HOP_BY_HOP, SPOOFABLE, FieldNames
from gproxy.http.header_names import HOP_BY_HOP as HOP_BY_HOP_NAMES
from gproxy.http.headers import Headers
from gproxy.http.trust import Trust

#: The longest `Expect` that is parsed, in characters.
_LONGEST_EXPECT: Final = 256


class RequestFields:
    """The meaning of a block of fields; depends only on the block, the version of HTTP and the peer.

    `block` and `minor` are those of a block in HTTP/1; a block in HTTP/2 is known by its head.
    """

    __slots__ = (
        "awaits_continue", "block", "client", "framing", "headers", "host", "keep", "minor", "offered", "received",
        "request_id",
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
        #: The protocols that the client offers to switch to, as it writes them; without h2c.
        self.offered: tuple[str, ...] = ()

    def with_headers(self, headers: Headers) -> "RequestFields":
        """Return the same with other fields for handlers."""
        twin = RequestFields(self.block, self.minor, self.received, headers, self.host, self.client)
        twin.request_id, twin.framing, twin.keep = self.request_id, self.framing, self.keep
        twin.awaits_continue, twin.offered = self.awaits_continue, self.offered
        return twin


#: The result for no block.
NO_FIELDS: Final = RequestFields(b"", 1, Headers(), Headers(), "", "")


class FieldRules:
    """The rules of a listener for the fields of its requests: its limits, and whom it trusts."""

    __slots__ = ("_max_body", "_trust", "max_fields", "names")

    def __init__(self, trust: Trust, *, max_fields: int, max_body: int) -> None:
        self._trust = trust
        self._max_body = max_body
        self.max_fields = max_fields
        #: The names of fields, judged by what `RequestFields` needs of them.
        self.names = FieldNames(self._uses_of)

    def _uses_of(self, name: str, plain: str) -> int:
        uses = HOP_BY_HOP if name in HOP_BY_HOP_NAMES or name == "expect" else 0
        return uses | SPOOFABLE if self._trust.may_touch(name, plain) else uses

    def check_count(self, count: int) -> None:
        """Raise BadMessage 431 for too many fields."""
        if count > self.max_fields:
            raise BadMessage("too many header fields", 431)

    def set_framing(self, read: RequestFields, framing: int) -> None:
        """Set the framing. Raises BadMessage 413 if the length is over the limit."""
        read.framing = framing
        if 0 < self._max_body < framing:
            raise BadMessage(f"request body exceeds the limit of {self._max_body} bytes", 413)

    def take_expect(self, read: RequestFields) -> None:
        """Remove Expect and act on it. Raises BadMessage 417 for an unknown expectation."""
        expect = read.headers.pop("expect")
        if not expect or not read.minor:  # ignored in HTTP/1.0: RFC 9110 section 10.1.1
            return
        if len(expect) > _LONGEST_EXPECT or not _elements(expect) <= {"100-continue", ""}:
            raise BadMessage("unknown expectation; only 100-continue is supported", 417)
        read.awaits_continue = True

    def clean(self, read: RequestFields, peer: str) -> None:
        """Remove what the peer must not send, and set the client's address and the request id."""
        read.client, read.request_id = self._trust.clean(peer, read.headers)


def _elements(value: str) -> set[str]:
    return {element.strip(" \t").lower() for element in value.split(",")}
