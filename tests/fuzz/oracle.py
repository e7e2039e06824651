"""What three parsers say of the same bytes: ours, h11 and httptools (llhttp). For the fuzz target and for a unit test.

The rule: whatever we accept is read the same way by a strict peer that accepts it too, down to where the message ends;
and what both others accept alike we accept, but for what is refused on purpose (`ours_alone_refuses`).

What our parser remembers of names changes nothing: `changed_by_memory` compares it with one that knows no name yet, with
the grammar as a single expression, and with the removal of fields without a look at their uses.
"""

import re
from collections.abc import Callable
from ipaddress import ip_network
from typing import NamedTuple

import h11
import httptools

from gproxy.http.errors import BadMessage
from gproxy.http.field_names import FieldNames
from gproxy.http.forwarding import accepts_trailers, connection_options, strip_hop_by_hop
from gproxy.http.framing import reader, request_framing
from gproxy.http.header_names import FIELD_CHAR, TOKEN_CHAR
from gproxy.http.headers import Headers
from gproxy.http.request_fields_cache import RequestFieldsCache
from gproxy.http.trust import Trust
from gproxy.http.wire import RequestLine, _any_request_line, host_of, parse_fields, parse_request_line

#: Names that stay known for all inputs.
_names = FieldNames(lambda *_: 0)
_trust = Trust(
    (ip_network("192.0.2.0/24"),), frozenset({"x-user"}), frozenset({"x-never"}), frozenset({"x-from-proxy"}), "X-Trace"
)
_cache = RequestFieldsCache(_trust, max_fields=1000, max_body=0)
_field_block = re.compile(rf"((?:{TOKEN_CHAR}++:{FIELD_CHAR}*+\r\n)*+)\r\n").fullmatch
_field_pairs = re.compile(r"([^:\r]++):[\t ]*+([^\r]*+)\r\n").findall


class Reading(NamedTuple):
    """A request as a parser understood it; `length` is how many bytes of the input its head and body take."""

    method: bytes
    target: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes
    length: int


def _as_h11(name: str, value: str) -> str:
    """h11 gives codings in lower case."""
    return value.lower() if name.lower() == "transfer-encoding" else value


class _Bytes:
    """A source that has everything at hand."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, limit: int) -> bytes:
        taken, self.data = self.data[:limit], self.data[limit:]
        return taken

    def give_back(self, data: bytes) -> None:
        self.data = data + self.data


def ours(data: bytes) -> Reading | None:
    """None for what is refused or incomplete. Anything but BadMessage is a bug, and raised."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    try:
        line_end = data.find(b"\r\n")
        line = parse_request_line(data[:line_end])
        fields = parse_fields(data[line_end + 2 : end + 4], _names).headers
        host_of(fields, line.minor)
        source = _Bytes(data[end + 4 :])
        rest = reader(request_framing(fields, line.minor), source)
        body = b""
        while piece := rest.next_piece():
            body += piece
    except BadMessage:
        return None
    target = re.match(rb"\S+ (\S+)", data)[1]
    raw = [(name.lower().encode("latin-1"), _as_h11(name, value).encode("latin-1")) for name, value in fields.items()]
    return Reading(line.method.encode(), target, raw, body, len(data) - len(source.data))


def _grouped(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The fields of one name together, as our parser has them."""
    names = list(dict.fromkeys(name for name, _ in fields))
    return sorted(fields, key=lambda field: names.index(field[0]))


def h11_reads(data: bytes) -> Reading | None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    try:
        connection.receive_data(data)
        request = connection.next_event()
        if not isinstance(request, h11.Request):
            return None
        body = b""
        while True:
            event = connection.next_event()
            if isinstance(event, h11.EndOfMessage):
                break
            if not isinstance(event, h11.Data):
                return None
            body += bytes(event.data)
    except h11.RemoteProtocolError:
        return None
    left = connection.trailing_data[0]
    fields = _grouped([(bytes(name), bytes(value)) for name, value in request.headers])
    return Reading(bytes(request.method), bytes(request.target), fields, body, len(data) - len(left))


class _Collector:
    def __init__(self) -> None:
        self.url = self.body = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


def httptools_reads(data: bytes) -> Reading | None:
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    for index in range(len(data)):  # byte by byte, so that the first message's end is known
        try:
            parser.feed_data(data[index : index + 1])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return None
        if collector.complete:
            return Reading(parser.get_method(), collector.url, _grouped(collector.fields), collector.body, index + 1)
    return None


def ours_alone_refuses(reading: Reading, data: bytes) -> bool:
    """What the others let pass and we refuse on purpose; each with its reason."""
    names = [name for name, _ in reading.fields]
    head = data[: data.find(b"\r\n\r\n") + 4]
    lengths = [value for name, value in reading.fields if name == b"content-length"]
    return any(
        (
            data.find(b"\r\n\r\n") < 0,  # ended by bare LF (RFC 9112 section 2.2 lets us refuse)
            re.search(rb"(?<!\r)\n|\r(?!\n)", head),  # bare CR and LF
            re.search(rb"\r\n[ \t]", head),  # obs-fold (section 5.2)
            re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", head),
            names.count(b"host") != 1
            or not re.fullmatch(rb"[\w.~-]+(:\d{0,5})?|\[[0-9a-fA-F:.]+\](:\d{0,5})?", dict(reading.fields)[b"host"]),
            len(lengths) > 1 or (lengths and not re.fullmatch(rb"\d{1,18}", lengths[0])),  # section 6.3 step 5
            b"transfer-encoding" in names and (b"content-length" in names or b" HTTP/1.0\r\n" in head),
            reading.method == b"CONNECT",
            not re.match(rb"[^ ]+ (/|\*|https?://)", head, re.I) or b"#" in reading.target,
            reading.target.startswith(b"*") and (reading.method != b"OPTIONS" or reading.target != b"*"),
            re.match(rb"https?://", reading.target, re.I),  # its authority has a grammar of its own
            not re.match(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~]+ HTTP/1\.[01]\r\n", head),
            data.startswith(b"\r\n"),  # the connection, not the grammar, skips empty lines
        )
    )


def changed_by_memory(data: bytes) -> str:
    """Empty if a block of fields reads the same for a parser that knows names, for a new one, and for the grammar."""
    begin, end = data.find(b"\r\n"), data.find(b"\r\n\r\n")
    if not 0 <= begin <= end:
        return ""
    line, block = data[:begin], data[begin + 2 : end + 4]
    fast, slow = _line(line, parse_request_line), _line(line, _any_request_line)
    if fast != slow:
        return f"request line: {fast}, by the expression {slow}"
    warm, cold, plain = _pairs(block, _names), _pairs(block, FieldNames(lambda *_: 0)), _by_expression(block)
    if not warm == cold == plain:
        return f"fields: {warm}, with new names {cold}, by one expression {plain}"
    for peer in ("192.0.2.1", "198.51.100.1"):
        for minor in (0, 1):
            read, all_removed = _read(block, minor, peer), _read_slowly(block, minor, peer)
            if read != all_removed:
                return f"read by {peer}: {read}, without uses {all_removed}"
    return ""


def _line(line: bytes, parse: Callable[[bytes], RequestLine]) -> tuple[object, ...]:
    try:
        parsed = parse(line)
    except BadMessage as error:
        return error.status, error.detail
    return parsed.method, parsed.target, parsed.minor, parsed.path, parsed.query, parsed.authority


def _pairs(block: bytes, names: FieldNames) -> list[tuple[str, str]] | None:
    try:
        fields = parse_fields(block, names)
    except BadMessage:
        return None
    found = fields.headers.items()
    if fields.headers.lines() != "".join(f"{name}: {value}\r\n" for name, value in found) or fields.count != len(found):
        raise AssertionError(f"lines of {block!r}: {fields.headers.lines()!r}")
    return found


def _by_expression(block: bytes) -> list[tuple[str, str]] | None:
    text = block.decode("latin-1")
    if not _field_block(text):
        return None
    return Headers([(name, value.strip(" \t")) for name, value in _field_pairs(text)]).items()


def _read(block: bytes, minor: int, peer: str) -> object:
    try:
        read = _cache.read(block, minor, peer)
    except BadMessage as error:
        return error.status
    return read.headers.items(), read.framing, read.keep, read.awaits_continue, read.client, read.request_id


def _read_slowly(block: bytes, minor: int, peer: str) -> object:
    """The same, with each step for every block."""
    try:
        headers = parse_fields(block, FieldNames(lambda *_: 0)).headers
        host_of(headers, minor)
        framing = request_framing(headers, minor)
        options = connection_options(headers)
        keep = "close" not in options and (minor == 1 or "keep-alive" in options)
        expect = headers.pop("expect")
        if expect and minor and {one.strip(" \t").lower() for one in expect.split(",")} - {"100-continue", ""}:
            return 417
        trailers = accepts_trailers(headers, options)
        strip_hop_by_hop(headers, options)
    except BadMessage as error:
        return error.status
    if trailers:
        headers.put("TE", "te", "trailers")
    client, request_id = _trust.clean(peer, headers)
    return headers.items(), framing, keep, bool(expect and minor), client, request_id


def disagreement(data: bytes) -> str:
    """Empty if all is well."""
    if changed := changed_by_memory(data):
        return changed
    mine, strict, lenient = ours(data), h11_reads(data), httptools_reads(data)
    if mine is not None:
        for name, other in (("h11", strict), ("httptools", lenient)):
            if other is not None and (other.body, other.length) != (mine.body, mine.length):
                return f"framed differently: ours {mine}, {name} {other}"
        if strict is not None and strict != mine:
            return f"read differently: ours {mine}, h11 {strict}"
    elif strict is not None and strict == lenient and not ours_alone_refuses(strict, data):
        return f"refused, though both others accept it alike: {strict}"
    return ""
