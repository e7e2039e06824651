"""Strict parsing of request and response heads (RFC 9112 sections 2 to 5), with one grammar for both.

A head is parsed whole: one decode, one compiled expression that accepts every line or none, one `findall`. The
expressions are possessive (`*+`), so no input makes them backtrack. Only a rejected head is examined again, slowly, to
describe the problem.
"""

import re
from typing import Final, NamedTuple, NoReturn

from gproxy.http.errors import BadMessage
from gproxy.http.header_names import FIELD_CHAR, TOKEN_CHAR
from gproxy.http.headers import Headers

# RFC 9112 section 5: no blank before the colon, no line folding, no bare CR or LF, no control characters.
_FIELDS = rf"((?:{TOKEN_CHAR}++:{FIELD_CHAR}*+\r\n)*+)\r\n"
_is_field_block = re.compile(_FIELDS).fullmatch
# RFC 9112 section 3. A target is visible ASCII without "#": a fragment never travels (RFC 9112 section 3.2).
_is_request_line = re.compile(rf"({TOKEN_CHAR}++) ([!-\"$-~]++) HTTP/([0-9])\.([0-9])").fullmatch
# RFC 9112 section 4. Many servers omit the blank before an absent reason; accepting that is harmless.
_is_response = re.compile(rf"HTTP/([0-9])\.([0-9]) ([1-9][0-9][0-9])(?: ({FIELD_CHAR}*+))?\r\n{_FIELDS}").fullmatch
_fields = re.compile(r"([^:\r]++):[\t ]*+([^\r]*+)\r\n").findall

# RFC 9112 section 3.2.2; userinfo is rejected (RFC 9110 section 4.2.4).
_is_absolute = re.compile(r"(?i:https?)://([^/?@]+)(/[^?]*)?(\?.*)?").fullmatch
# RFC 9110 section 7.2, RFC 3986 section 3.2.2; without escapes, which no host name has and a route would not match.
is_host = re.compile(
    r"(?:[A-Za-z0-9._~!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]{2,45}(?:%25[A-Za-z0-9._~-]+)?\])(?::0*[0-9]{0,5})?"
).fullmatch

_empty_lines = re.compile(rb"(?:\r\n)*+").match
_readable_line = re.compile(rf"({TOKEN_CHAR}{{1,32}}+) ([!-~]{{1,2048}}+)(?: (HTTP/[0-9]\.[0-9])\r\n)?").match

#: Bytes that no head has in any place: a bare CR or LF, a control character.
_is_hopeless = re.compile(rb"\r(?=[^\n])|(?<!\r)\n|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search

#: gRPC clients begin with HTTP/2 (RFC 9113 section 3.4).
_UNSUPPORTED: Final = "only HTTP/1.1 and HTTP/1.0 are supported; HTTP/2, and so gRPC, is not"


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


class RawResponseHead(NamedTuple):
    """A status line and its fields, checked against the grammar, otherwise as received."""

    status: int
    reason: str
    minor: int
    headers: Headers


def _pairs(block: str) -> list[tuple[str, str]]:
    pairs = _fields(block)
    if " \r\n" in block or "\t\r\n" in block:
        return [(name, value.rstrip(" \t")) for name, value in pairs]
    return pairs


def parse_request_line(line: bytes) -> RequestLine:
    """Parse a request line without its CRLF.

    Raises BadMessage with the status to answer (RFC 9112 sections 2.3, 3, 3.2).
    """
    match = _is_request_line(line.decode("latin-1"))
    if match is None:
        _reject_request_line(line)
    method, target, major, minor = match.groups()
    if major != "1":
        raise BadMessage(_UNSUPPORTED, 505)
    if target[0] == "/" and method != "CONNECT":
        path, _, query = target.partition("?")
        return RequestLine(method, target, int(minor != "0"), path, query)
    return _other_form(method, target, int(minor != "0"))


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


def parse_fields(block: bytes) -> list[tuple[str, str]]:
    """Parse the header fields in `block`, which ends with the empty line. Raises BadMessage (RFC 9112 section 5)."""
    text = block.decode("latin-1")
    if _is_field_block(text) is None:
        raise BadMessage(_what_is_wrong(b"\r\n" + block, "header name"))
    return _pairs(text)


def host_of(fields: list[tuple[str, str]], minor: int) -> str:
    """Return the one Host.

    Raises BadMessage for a missing, repeated or invalid one (RFC 9112 section 3.2).
    """
    hosts = [value for name, value in fields if len(name) == 4 and name.lower() == "host"]
    if len(hosts) == 1 and (not hosts[0] or is_host(hosts[0])):  # empty: a target without authority, RFC 9110 7.2
        return hosts[0]
    if not hosts and not minor:
        return ""
    raise BadMessage("a request has exactly one valid Host")


def bare_host(host: str) -> str:
    """Return the host without its port, in lower case."""
    end = host.rfind(":")
    return (host[:end] if end > host.rfind("]") else host).lower().rstrip(".")


def parse_response(head: bytes) -> RawResponseHead:
    """Parse a response head that ends with its empty line. Raises BadMessage (RFC 9112 sections 4, 5)."""
    match = _is_response(head.decode("latin-1"))
    if match is None:
        raise BadMessage(f"no response head: {_what_is_wrong(head, 'status line')}", 502)
    major, minor, status, reason, block = match.groups()
    if major != "1":
        raise BadMessage(f"HTTP/{major} in a status line", 502)
    return RawResponseHead(int(status), reason or "", minor != "0", Headers.parsed(_pairs(block)))


def _reject_request_line(line: bytes) -> NoReturn:
    if re.fullmatch(rb"[^ ]+ [^ ]+ HTTP/[02-9]\.[0-9]", line):
        raise BadMessage(_UNSUPPORTED, 505)
    raise BadMessage(_what_is_wrong(line, "request line"))


#: The first pattern that matches describes why a head is rejected.
_WRONG: Final[list[tuple[re.Pattern[bytes], str]]] = [
    # RFC 9113 section 6.5: the SETTINGS frame with which a server begins.
    (re.compile(rb"(?s)\A\x00..\x04\x00\x00\x00\x00\x00"), "an HTTP/2 frame, as gRPC servers send"),
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
