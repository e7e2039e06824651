"""The meaning of a block of fields (RFC 9113 section 8): heads and trailers, by the numbered rules below.

1. Pseudo-fields come first, each once. Unknown ones, and any in trailers, are malformed.
2. `:method` is a token. `:path` begins with a slash, or is `*` with OPTIONS; its characters are those of a target in
   HTTP/1.1. `:scheme` is `http` or `https`; nothing else looks at it.
3. `:authority` is a host without userinfo. A `host` field beside it has the same value, except for case; alone, it
   counts. So a request has one host, for routes and for backends.
4. Names are tokens in lower case, values have neither control characters nor outer blanks. The decoder checks each
   field by itself: in a joined text a CR LF inside a value would look like two good fields.
5. Fields of a connection in HTTP/1.1 are malformed, and a `te` other than `trailers`.
6. Content-Length is one number. The session compares it with the content.
7. Pieces of a cookie are joined. A repeated `content-length` or `host` is malformed.
8. CONNECT without `:protocol` is rejected. A response has one status of three digits, never 101.

A malformed message resets its stream. A rejected one is well-formed, and gets a response.
"""

from typing import Final

from gproxy.http.errors import NO_LINE, BadMessage
from gproxy.http.field_names import HOP_BY_HOP, SPOOFABLE, FieldNames
from gproxy.http.forwarding import WEBSOCKET
from gproxy.http.framing import content_length
from gproxy.http.h2.hpack_decoder import DecodedBlock, Field
from gproxy.http.h2.never_indexed import NeverIndexed
from gproxy.http.header_names import RESPONSE_HOP_BY_HOP, is_token
from gproxy.http.headers import Headers, Line
from gproxy.http.request_fields import FieldRules, RequestFields
from gproxy.http.response import ResponseHead
from gproxy.http.wire import USUAL_METHODS, Fields, is_host, is_target, readable_line

#: The names with which a session decodes responses.
RESPONSE_NAMES: Final = FieldNames(lambda name, _: HOP_BY_HOP if name in RESPONSE_HOP_BY_HOP else 0)

#: Fields that belong to a connection in HTTP/1.1 (RFC 9113 section 8.2.2). All have the use HOP_BY_HOP.
_OF_A_CONNECTION: Final = frozenset(
    {"connection", "http2-settings", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
)
_SCHEMES: Final = ("http", "https")
#: The statuses of responses without a body.
WITHOUT_BODY: Final = (204, 304)
#: Hosts that were checked, and how many of them are kept: a connection has few.
_hosts: Final[dict[str, Line]] = {}
_MOST_HOSTS: Final = 256
_LONGEST_HOST: Final = 128


class Malformed(Exception):
    """A malformed message (RFC 9113 section 8.1.1). `line` is what is readable of it: method, path and protocol."""

    def __init__(self, detail: str, line: tuple[str, str, str] = NO_LINE) -> None:
        super().__init__(detail)
        self.detail = detail
        self.line = line


class HeadLimits:
    """The most fields of a request, and the most characters of its target."""

    __slots__ = ("max_fields", "max_target")

    def __init__(self, max_fields: int, max_target: int) -> None:
        self.max_fields = max_fields
        self.max_target = max_target


class RequestHead:
    """The head of a request; all requests of a connection with an equal block share it.

    host: also the first of the `headers`, which have all fields but pseudo-fields. protocol: that of an extended
    CONNECT, which has the `method` GET, as in HTTP/1.1; else empty. content_length: -1 without one. priority: the value
    of this field. read: what follows from the fields for a server, once `request_fields` has found it.
    """

    __slots__ = (
        "content_length", "headers", "hop_by_hop", "host", "method", "path", "priority", "protocol", "query", "read",
        "target", "uses",
    )  # fmt: skip

    def __init__(self, method: str, target: str, host: str, fields: Fields, length: int, protocol: str) -> None:
        self.method = method
        self.target = target
        path, _, query = target.partition("?")
        self.path = path
        self.query = query
        self.host = host
        self.headers = fields.headers
        self.uses = fields.uses
        self.hop_by_hop = fields.hop_by_hop
        self.content_length = length
        self.protocol = protocol
        self.priority = fields.headers.lookup("priority") or ""
        self.read: RequestFields | None = None


class _Fault:
    """The reason why a block is malformed, or rejected with this status: 0 for a malformed one.

    A block keeps it instead of an exception, which would grow by a traceback each time.
    """

    __slots__ = ("detail", "line", "status")

    def __init__(self, detail: str, status: int, line: tuple[str, str, str]) -> None:
        self.detail = detail
        self.status = status
        self.line = line

    def error(self) -> Exception:
        """Return the exception to raise."""
        return BadMessage(self.detail, self.status, self.line) if self.status else Malformed(self.detail, self.line)


def request_head(block: DecodedBlock, *, limits: HeadLimits) -> RequestHead:
    """Return the head of a request.

    Raises Malformed, and BadMessage for a well-formed request: 400 without a host, 414 or 431 over a limit, 501 for
    CONNECT, except for WebSockets. Both have the readable part of the request in `line`.
    """
    memo = block.memo
    if memo is None:
        try:
            memo = _request_head(block, limits)
        except Malformed as fault:  # compiled, a name has one type
            memo = _Fault(fault.detail, 0, _readable_line(block))
        except BadMessage as error:
            memo = _Fault(error.detail, error.status, _readable_line(block))
        block.memo = memo
    if isinstance(memo, RequestHead):
        return memo
    assert isinstance(memo, _Fault)  # noqa: S101 blocks of one connection are all requests
    raise memo.error()


def response_head(block: DecodedBlock) -> ResponseHead:
    """Return the head of a response, perhaps an interim one. Raises Malformed.

    Its framing is its Content-Length: -1, which is CHUNKED, without one, and 0 for a status without a body. A response
    to HEAD has no body either. All responses of a connection with an equal block share the head.
    """
    memo = block.memo
    if memo is None:
        try:
            memo = _response_head(block)
        except Malformed as error:
            memo = _Fault(error.detail, 0, NO_LINE)
        block.memo = memo
    if isinstance(memo, ResponseHead):
        return memo
    assert isinstance(memo, _Fault)  # noqa: S101 blocks of one connection are all responses
    raise memo.error()


def trailers(block: DecodedBlock) -> list[tuple[str, str]]:
    """Return the trailers, also those that must not be passed on. Raises Malformed."""
    if block.is_too_large:
        raise Malformed("the trailers are too large")
    pairs = _regular_fields(block.fields, 0, {}).headers.items()
    if not block.never_indexed:
        return pairs
    return [(NeverIndexed(name) if name in block.never_indexed else name, value) for name, value in pairs]


def request_fields(head: RequestHead, rules: FieldRules, peer: str) -> RequestFields:
    """Return what follows from the fields of a request, by the rules of its listener. The head keeps the result.

    Its framing is that of a request with a body. Raises BadMessage: 413 over the limit, 417 for an unknown expectation.
    """
    read = head.read
    if read is None:
        read = head.read = _request_fields(head, rules, peer)
    return read


def strip_response(headers: Headers, status: int) -> None:
    """Remove what a response to a client cannot have over HTTP/2 (RFC 9113 section 8.2.2)."""
    if not headers.is_stripped:
        headers.discard_all(RESPONSE_HOP_BY_HOP)
    elif status == 426:  # stripped for HTTP/1.1, where it keeps this field
        headers.discard("upgrade")


def _request_fields(head: RequestHead, rules: FieldRules, peer: str) -> RequestFields:
    received, uses = head.headers, head.uses
    headers = received.copy() if uses else received
    read = RequestFields(b"", 1, received, headers, head.host, peer)
    rules.set_framing(read, head.content_length)  # -1 is CHUNKED: to its end
    if head.protocol:
        read.offered = (head.protocol,)
    if uses & HOP_BY_HOP:
        rules.take_expect(read)
        headers.discard_all(head.hop_by_hop)
        if received.lookup("te") is not None:
            headers.put("TE", "te", "trailers")
    if uses & SPOOFABLE:
        rules.clean(read, peer)
    return read


def _request_head(block: DecodedBlock, limits: HeadLimits) -> RequestHead:
    if block.is_too_large:
        raise BadMessage("the request head is too large", 431)
    pseudo: dict[str, str] = {}
    begin = _pseudo_fields(block.fields, pseudo)
    protocol = pseudo.get(":protocol")
    authority = pseudo.get(":authority")
    host = _host_field(block.fields, begin) if authority is None else authority
    fields = _regular_fields(block.fields, begin, {"host": _host_line(host)} if host is not None else {})
    headers, count = fields.headers, fields.count
    if block.never_indexed:
        headers.never_index(_with_authority(block.never_indexed))
    if count > len(headers) and _drop_second_host(headers):
        count -= 1
    method, target = _method_and_target(pseudo, protocol)
    length = _length(headers)
    if protocol is not None:
        if authority is None or length >= 0:
            raise Malformed("an extended CONNECT has an :authority, and no content")
        method = "GET"
    _check_limits(count, target, limits)
    if not target or (protocol is not None and protocol.lower() != WEBSOCKET):
        raise BadMessage("CONNECT is not supported, except for WebSockets", 501)
    if host is None:
        raise BadMessage("a request has exactly one valid Host")
    return RequestHead(method, target, host, fields, length, WEBSOCKET if protocol is not None else "")


def _check_limits(count: int, target: str, limits: HeadLimits) -> None:
    if count > limits.max_fields:
        raise BadMessage("too many header fields", 431)
    if len(target) > limits.max_target:
        raise BadMessage("the request target is too long", 414)


def _response_head(block: DecodedBlock) -> ResponseHead:
    if block.is_too_large:
        raise Malformed("the response head is too large")
    pseudo: dict[str, str] = {}
    begin = _pseudo_fields(block.fields, pseudo)
    text = pseudo.get(":status", "")
    if len(pseudo) != 1 or len(text) != 3 or not (text.isascii() and text.isdigit()) or text < "100":
        raise Malformed("a response has one pseudo-field: :status, with three digits")
    status = int(text)
    if status == 101:  # RFC 9113 section 8.6
        raise Malformed("a response with status 101")
    fields = _regular_fields(block.fields, begin, {})
    headers = fields.headers
    if block.never_indexed:
        headers.never_index(block.never_indexed)
    length = _length(headers)
    if fields.uses & HOP_BY_HOP:
        headers.discard_all(fields.hop_by_hop)
    headers.is_stripped = True
    return ResponseHead(status, "", headers, 0 if status < 200 or status in WITHOUT_BODY else length)


def _pseudo_fields(fields: list[Field], pseudo: dict[str, str]) -> int:
    """Collect the leading pseudo-fields (rule 1), and return their number."""
    begin = 0
    for field in fields:
        if field.line:
            break
        if field.is_bad or field.name in pseudo:
            raise _malformed(field, "is repeated")
        pseudo[field.name] = field.value
        begin += 1
    return begin


def _regular_fields(fields: list[Field], begin: int, first: dict[str, Line]) -> Fields:
    """Return the fields from `begin` on, behind those in `first` (rules 1, 4, 5, 7)."""
    further: list[tuple[str, Line]] = []
    pieces: list[str] = []
    hop_by_hop: list[str] = []
    uses = 0
    for position in range(begin, len(fields)):
        field = fields[position]
        name, line = field.name, field.line
        if not line:
            raise _malformed(field, "is out of place")
        if field.uses:
            uses |= field.uses
            if field.uses & HOP_BY_HOP:
                _check_hop_by_hop(name, field.value)
                hop_by_hop.append(name)
        if name not in first:
            first[name] = line
        elif name == "cookie":
            if field.value:
                pieces.append(field.value)
        else:
            further.append((name, line))
    if pieces:
        first["cookie"] = "; ".join([first["cookie"], *pieces])
    return Fields(Headers.parsed(first, further), uses, len(first) + len(further), hop_by_hop)


def _check_hop_by_hop(name: str, value: str) -> None:
    """Raise Malformed for a field that HTTP/2 does not have (rule 5)."""
    if name in _OF_A_CONNECTION:
        raise Malformed(f"the field {name}, which HTTP/2 does not have")
    if name == "te" and value != "trailers":
        raise Malformed("a te other than trailers")


def _malformed(field: Field, otherwise: str) -> Malformed:
    """Return the error of a field without a line: a bad one, or a pseudo-field."""
    if field.is_bad:
        return Malformed("a malformed field name or value")
    return Malformed(f"the pseudo-field {field.name} {otherwise}")


def _method_and_target(pseudo: dict[str, str], protocol: str | None) -> tuple[str, str]:
    """Return method and target (rules 1, 2, 8); a plain CONNECT has an empty target."""
    method, path, scheme = pseudo.get(":method", ""), pseudo.get(":path"), pseudo.get(":scheme")
    known = 1 + (":authority" in pseudo) + (protocol is not None)
    if method not in USUAL_METHODS and not is_token(method):
        raise Malformed("no valid :method")
    if method == "CONNECT" and protocol is None:
        if len(pseudo) != 2 or known != 2:  # RFC 9113 section 8.5
            raise Malformed("a CONNECT has :method and :authority")
        return method, ""
    if len(pseudo) != known + 2 or path is None or scheme not in _SCHEMES:
        raise Malformed("a request has :method, :path, a :scheme of http or https, and at most one :authority")
    if protocol is not None and method != "CONNECT":
        raise Malformed("a :protocol without CONNECT")
    if not is_target(path) or not (path[0] == "/" or (path == "*" and method == "OPTIONS")):
        raise Malformed("the :path is no path")
    return method, path


def _with_authority(never_indexed: frozenset[str]) -> frozenset[str]:
    """Return the names that are never indexed; `host` becomes `:authority` to a backend."""
    return never_indexed | {":authority"} if "host" in never_indexed else never_indexed


def _host_field(fields: list[Field], begin: int) -> str | None:
    """Return the first `host` field of a request without an authority, as proxies make them of HTTP/1.1."""
    return next((field.value for field in fields[begin:] if field.name == "host"), None)


def _host_line(host: str) -> Line:
    """Return the line of a host (rule 3). Raises Malformed for an invalid one."""
    line = _hosts.get(host)
    if line is None:
        if not is_host(host):
            raise Malformed("no valid host")
        line = f"Host: {host}"
        if len(host) <= _LONGEST_HOST:
            if len(_hosts) >= _MOST_HOSTS:
                _hosts.clear()
            _hosts[host] = line
    return line


def _drop_second_host(headers: Headers) -> bool:
    """Drop a `host` beside the authority, and return whether there was one (rules 3, 7).

    Raises Malformed for one that differs, and for two.
    """
    hosts = headers.all("host")
    if len(hosts) < 2:
        return False
    if len(hosts) > 2 or hosts[0].lower() != hosts[1].lower():
        raise Malformed("more than one host")
    headers.put_line("host", _host_line(hosts[0]))
    return True


def _length(headers: Headers) -> int:
    """Return the Content-Length; -1 without one (rules 6, 7)."""
    if headers.lookup("content-length") is None:
        return -1
    try:
        return content_length(headers)
    except BadMessage as error:
        raise Malformed(error.detail) from None


def _readable_line(block: DecodedBlock) -> tuple[str, str, str]:
    """Return method, path and protocol of a request, as far as they are readable; for the log."""
    values = {field.name: field.value for field in block.fields if field.name in {":method", ":path"}}
    method, path, _ = readable_line(f"{values.get(':method', '')} {values.get(':path', '')}".encode("latin-1"))
    return method, path, "HTTP/2.0"
