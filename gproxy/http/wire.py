"""Strict parsing of request and response heads (RFC 9112 sections 2 to 5), with one grammar for both.

The bytes of all fields are checked at once. Then each line costs one look-up of its name in a table; only a name that
is new, or a line in an unusual form, is examined. The expressions are possessive (`*+`), so no input makes them
backtrack. A rejected head is examined again, slowly, to describe the problem.
"""

import re
from typing import Final, NoReturn

from gproxy.http.errors import BadMessage
from gproxy.http.field_names import HOP_BY_HOP, FieldName, FieldNames
from gproxy.http.header_names import FIELD_CHAR, TOKEN_CHAR
from gproxy.http.headers import Headers, Line

#: The bytes of a field (RFC 9112 section 5); of a block of fields, only the line ends are left without them.
_FIELD_BYTES: Final = bytes(byte for byte in range(256) if re.match(FIELD_CHAR, chr(byte)))
_CRLF: Final = b"\r\n"
_BLANKS: Final = " \t"
# RFC 9112 section 3. A target is visible ASCII without "#": a fragment never travels (RFC 9112 section 3.2).
_TARGET_CHAR: Final = r"[!-\"$-~]"
_is_request_line = re.compile(rf"({TOKEN_CHAR}++) ({_TARGET_CHAR}++) HTTP/([0-9])\.([0-9])").fullmatch
#: Matches a text with the characters of a target.
is_target: Final = re.compile(rf"{_TARGET_CHAR}++").fullmatch
_TARGET_BYTES: Final = bytes(byte for byte in range(256) if re.match(_TARGET_CHAR, chr(byte)))
_VERSION: Final = b" HTTP/1.1"
#: PERF: most methods, without a match.
USUAL_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
# RFC 9112 section 4. Many servers omit the blank before an absent reason; accepting that is harmless.
_is_status_line = re.compile(rf"HTTP/([0-9])\.([0-9]) ([1-9][0-9][0-9])(?: ({FIELD_CHAR}*+))?").fullmatch
#: The number of status lines that are kept, and the longest of them in bytes.
_STATUS_LINES: Final = 64
_LONGEST_STATUS_LINE: Final = 64

# RFC 9112 section 3.2.2; userinfo is rejected (RFC 9110 section 4.2.4).
_is_absolute = re.compile(r"(?i:https?)://([^/?@]+)(/[^?]*)?(\?.*)?").fullmatch
# RFC 9110 section 7.2, RFC 3986 section 3.2.2; without escapes, which no host name has and a route would not match.
is_host = re.compile(
    r"(?:[A-Za-z0-9._~!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]{2,45}(?:%25[A-Za-z0-9._~-]+)?\])(?::0*[0-9]{0,5})?"
).fullmatch

_empty_lines = re.compile(rb"(?:\r\n)*+").match
#: Most characters of the target of a rejected request in the log.
MOST_LOGGED: Final = 2048
_readable_line = re.compile(rf"({TOKEN_CHAR}{{1,32}}+) ([!-~]{{1,{MOST_LOGGED}}}+)(?: (HTTP/[0-9]\.[0-9])\r\n)?").match

#: Bytes that no head has in any place: a bare CR or LF, a control character.
_is_hopeless = re.compile(rb"\r(?=[^\n])|(?<!\r)\n|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search

#: The first bytes of a connection in HTTP/2 (RFC 9113 section 3.4); gRPC clients begin with them.
HTTP2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_UNSUPPORTED: Final = (
    "HTTP/1.1 or HTTP/1.0 is expected; HTTP/2, and so gRPC, needs TLS with ALPN, or an address with the word h2c"
)


class RequestLine:
    """A request line, checked against the grammar. `authority` is that of an absolute target, else empty."""

    __slots__ = ("authority", "method", "minor", "path", "query", "target")

    def __init__(self, method: str, target: str, minor: int, path: str, query: str, authority: str = "") -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.path = path
        self.query = query
        self.authority = authority


class Fields:
    """The fields of a head, checked against the grammar, and the union of their uses.

    `count` is that of the lines; `hop_by_hop` has the names of fields with this use, in lower case.
    """

    __slots__ = ("count", "headers", "hop_by_hop", "uses")

    def __init__(self, headers: Headers, uses: int, count: int, hop_by_hop: list[str]) -> None:
        self.headers = headers
        self.uses = uses
        self.count = count
        self.hop_by_hop = hop_by_hop


class StatusLine:
    """A status line, checked against the grammar."""

    __slots__ = ("minor", "reason", "status")

    def __init__(self, status: int, reason: str, minor: int) -> None:
        self.status = status
        self.reason = reason
        self.minor = minor


def parse_request_line(line: bytes) -> RequestLine:
    """Parse a request line without its CRLF.

    Raises BadMessage with the status to answer (RFC 9112 sections 2.3, 3, 3.2).
    """
    if line.endswith(_VERSION) and line.translate(None, _TARGET_BYTES) == b"  ":  # PERF: most lines, without a match
        text = line.decode("latin-1")
        blank = text.find(" ")
        method, target = text[:blank], text[blank + 1 : -len(_VERSION)]
        if method in USUAL_METHODS and target.startswith("/"):
            return _origin_form(method, target, 1)
    return _any_request_line(line)


def _any_request_line(line: bytes) -> RequestLine:
    match = _is_request_line(line.decode("latin-1"))
    if match is None:
        _reject_request_line(line)
    method, target, major, minor = match.groups()
    if major != "1":
        raise BadMessage(_UNSUPPORTED, 505)
    if target[0] == "/" and method != "CONNECT":
        return _origin_form(method, target, int(minor != "0"))
    return _other_form(method, target, int(minor != "0"))


def _origin_form(method: str, target: str, minor: int) -> RequestLine:
    path, _, query = target.partition("?")
    return RequestLine(method, target, minor, path, query)


def _other_form(method: str, target: str, minor: int) -> RequestLine:
    """Parse asterisk, authority and absolute form (RFC 9112 sections 3.2.2 to 3.2.4)."""
    if method == "CONNECT":
        raise BadMessage("CONNECT is not supported", 501)
    if target == "*" and method == "OPTIONS":
        return RequestLine(method, target, minor, "*", "")
    match = _is_absolute(target)
    if match is None or not is_host(match[1]):
        raise BadMessage("the request target is neither a path nor an http URL")
    path = match[2] or ("*" if method == "OPTIONS" and not match[3] else "/")
    query = match[3] or ""
    return RequestLine(method, path + query, minor, path, query[1:], match[1])


def parse_fields(block: bytes, names: FieldNames) -> Fields:
    """Parse the header fields in `block`, which ends with the empty line. Raises BadMessage (RFC 9112 section 5).

    No blank before the colon, no line folding, no bare CR or LF, no control characters.
    """
    text = block.decode("latin-1")
    lines = text.split("\r\n")
    count = len(lines) - 2
    if count < 0 or lines.pop() or lines.pop() or block.translate(None, _FIELD_BYTES) != _CRLF * (count + 1):
        raise BadMessage(_what_is_wrong(_CRLF + block, "header line"))
    trim = " \r\n" in text or "\t" in text or ":  " in text
    known = names.known
    first: dict[str, Line] = {}
    further: list[tuple[str, Line]] = []
    hop_by_hop: list[str] = []
    uses = 0
    for received in lines:
        line, colon = received, received.find(": ")
        name = known.get(line[:colon]) if colon > 0 else None
        if name is None or trim:
            name, line = _examined(line, names, block)
        if name.uses:
            uses |= name.uses
            if name.uses & HOP_BY_HOP:
                hop_by_hop.append(name.key)
        if name.key in first:
            further.append((name.key, line))
        else:
            first[name.key] = line
    return Fields(Headers.parsed(first, further), uses, count, hop_by_hop)


def _examined(line: str, names: FieldNames, block: bytes) -> tuple[FieldName, Line]:
    """Return the name and the usual form of a line in any form that the grammar allows."""
    spelling, colon, value = line.partition(":")
    name = names.learn(spelling) if colon else None
    if name is None:
        raise BadMessage(_what_is_wrong(_CRLF + block, "header name"))
    return name, f"{spelling}: {value.strip(_BLANKS)}"


def host_of(headers: Headers, minor: int) -> str:
    """Return the one Host.

    Raises BadMessage for a missing, repeated or invalid one (RFC 9112 section 3.2).
    """
    host = headers.lookup("host")
    if host is None and not minor:
        return ""
    # Empty: a target without authority (RFC 9110 section 7.2). Of several, the look-up joins the values by a blank.
    if host is None or (host and not is_host(host)):
        raise BadMessage("a request has exactly one valid Host")
    return host


def bare_host(host: str) -> str:
    """Return the host without its port, in lower case."""
    end = host.rfind(":")
    return (host[:end] if end > host.rfind("]") else host).lower().rstrip(".")


def parse_response(head: bytes, names: FieldNames) -> tuple[StatusLine, Fields]:
    """Parse a response head that ends with its empty line. Raises BadMessage (RFC 9112 sections 4, 5)."""
    end = head.find(_CRLF)
    line = _status_lines.get(head[:end]) or _parse_status_line(head[:end])
    try:
        return line, parse_fields(head[end + 2 :], names)
    except BadMessage as error:
        raise BadMessage(f"no response head: {error.detail}", 502) from None


#: Status lines as they came, and what they say: a backend has few.
_status_lines: Final[dict[bytes, StatusLine]] = {}


def _parse_status_line(line: bytes) -> StatusLine:
    match = _is_status_line(line.decode("latin-1"))
    if match is None:
        raise BadMessage(f"no response head: {_what_is_wrong(line, 'status line')}", 502)
    major, minor, status, reason = match.groups()
    if major != "1":
        raise BadMessage(f"HTTP/{major} in a status line", 502)
    parsed = StatusLine(int(status), reason or "", int(minor != "0"))
    if len(line) <= _LONGEST_STATUS_LINE:
        if len(_status_lines) >= _STATUS_LINES:
            _status_lines.clear()
        _status_lines[line] = parsed
    return parsed


def _reject_request_line(line: bytes) -> NoReturn:
    if re.fullmatch(rb"[^ ]+ [^ ]+ HTTP/[02-9]\.[0-9]", line):
        raise BadMessage(_UNSUPPORTED, 505)
    raise BadMessage(_what_is_wrong(line, "request line"))


#: The first pattern that matches describes why a head is rejected.
_WRONG: Final[list[tuple[re.Pattern[bytes], str]]] = [
    # RFC 9113 section 6.5: the SETTINGS frame with which a server begins.
    (re.compile(rb"(?s)\A\x00..\x04\x00\x00\x00\x00\x00"), "an HTTP/2 frame: http2 = yes speaks HTTP/2 to backends"),
    (re.compile(rb"\r(?!\n)|(?<!\r)\n"), "a bare CR or LF"),
    (re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"), "a control character"),
    (re.compile(rb"\r\n[ \t]"), "a folded header line"),
    (re.compile(rb"\r\n[^:\r\n]*+(?<=[ \t]):"), "a blank before a header's colon"),
    (re.compile(rb"\r\n[^:\r\n]++\r\n"), "a header line without a colon"),
    (re.compile(rb"\r\n:"), "a header without a name"),
]


def _what_is_wrong(head: bytes, line: str) -> str:
    return next((why for pattern, why in _WRONG if pattern.search(head)), f"malformed {line}")


def check_beginning(data: bytes, checked: int = 0) -> None:
    """Reject bytes at once that no further byte can turn into a head; the sender may be waiting for the response.

    The first `checked` bytes were checked before. Raises BadMessage (RFC 9112 section 2.2).
    """
    if _is_hopeless(data, max(0, checked - 1)):
        raise BadMessage(_what_is_wrong(data + b"\r\n" if data.endswith(b"\r") else data, "head"))


def check_first_line(data: bytes, checked: int = 0) -> None:
    """Check a request line once it is complete: an HTTP/0.9 client sends nothing after it."""
    end = data.find(b"\r\n")
    if end >= max(0, checked - 1):
        parse_request_line(data[:end])


def without_empty_lines(data: bytes) -> bytes:
    """Return `data` without leading empty lines."""
    lines = _empty_lines(data)
    return data[lines.end() :] if lines else data


def readable_line(data: bytes) -> tuple[str, str, str]:
    """Return method, path and protocol of a rejected head, as far as they are readable; for the log."""
    match = _readable_line(data[:4096].decode("latin-1"))
    if match is None:
        return "", "", ""
    return match[1], match[2].partition("?")[0], match[3] or ""
