"""Message framing: the presence, length and coding of a body (RFC 9112 sections 6 and 7).

A framing is a number of bytes, CHUNKED, or UNTIL_CLOSE. Every rule below is one numbered step of RFC 9112 section 6.3.
Where the RFC leaves a choice, the gateway rejects a message that two readers could frame differently.
"""

import re
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from gproxy.http.errors import BadMessage, Incomplete
from gproxy.http.header_names import FIELD_CHAR, TOKEN_CHAR
from gproxy.http.headers import Headers

CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2

#: The size of one read from a socket, in bytes. From 128 KiB on malloc maps and unmaps memory for each read, which
#: costs more than receiving the bytes.
PIECE: Final = 120 * 1024
#: The longest chunk-size line and trailer section, in bytes; anything longer is an attack.
MAX_CHUNK_LINE: Final = 4096
MAX_TRAILERS: Final = 16384

#: The longest number of bytes, without leading zeros.
_DIGITS: Final = 18
_is_length = re.compile(rf"0*[0-9]{{1,{_DIGITS}}}").fullmatch
# RFC 9112 section 7.1: BWS is allowed before an extension's semicolon only.
_chunk_line = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*+)?\r\n").match
_chunk_line_so_far = re.compile(rb"[0-9A-Fa-f]{0,16}\r?|[0-9A-Fa-f]{1,16}[ \t]*(;[^\r]*\r?)?").fullmatch
_is_hopeless = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search
_trailer_section = re.compile(rf"((?:{TOKEN_CHAR}++:{FIELD_CHAR}*+\r\n)*+)\r\n").fullmatch
_trailer_fields = re.compile(r"([^:\r]++):[\t ]*+([^\r]*+)\r\n").findall


def request_framing(headers: Headers, minor: int) -> int:
    """Return the framing of a request. Raises BadMessage for an ambiguous one."""
    if "transfer-encoding" in headers:
        # 6.1: Content-Length beside chunked, and chunked in HTTP/1.0, are used for request smuggling.
        if "content-length" in headers:
            raise BadMessage("Content-Length beside Transfer-Encoding")
        return _transfer_coding(headers, minor)
    if "content-length" in headers:
        return content_length(headers)
    return 0  # step 7


def response_framing(headers: Headers, minor: int, status: int, method: str) -> int:
    """Return the framing of a response. Raises BadMessage for an ambiguous one."""
    length = headers.lookup("content-length")
    size = UNTIL_CLOSE if length is None else _number(length)
    chunked = headers.lookup("transfer-encoding") is not None
    if chunked and length is not None:  # step 3
        raise BadMessage("Content-Length beside Transfer-Encoding")
    if method == "HEAD" or status in (204, 304) or status < 200:  # step 1
        return 0
    if chunked:
        return _transfer_coding(headers, minor)
    return size  # steps 6, 8


def _transfer_coding(headers: Headers, minor: int) -> int:
    codings = headers.all("transfer-encoding")
    if minor == 0:
        raise BadMessage("Transfer-Encoding in HTTP/1.0")
    if len(codings) != 1 or codings[0].lower() != "chunked":
        raise BadMessage("a Transfer-Encoding other than chunked", _unsupported_status(codings))
    return CHUNKED


def _unsupported_status(codings: list[str]) -> int:
    """Return 501 for a final chunked after unknown codings, else 400 (RFC 9112 sections 6.1, 6.3)."""
    *unknown, last = [coding.strip(" \t").lower() for coding in ",".join(codings).split(",")]
    return 501 if last == "chunked" and not {"", "chunked"}.intersection(unknown) else 400


def content_length(headers: Headers) -> int:
    """Return the one Content-Length in bytes (RFC 9112 section 6.3 step 5). Raises BadMessage."""
    return _number(headers.lookup("content-length") or "")


def _number(length: str) -> int:
    if len(length) <= _DIGITS and length.isdigit() and length.isascii():  # PERF: without an expression
        return int(length)
    if not _is_length(length):  # get() joins repeated values with a comma
        raise BadMessage("Content-Length is not a single number")
    return int(length[-_DIGITS:])  # all digits before are zeros, and int() rejects very long strings


class Source(Protocol):
    """The connection that delivers the bytes of a message."""

    def read(self, limit: int) -> bytes:
        """Return up to `limit` bytes: received ones, or the next to arrive; b"" once the peer has closed."""

    def give_back(self, data: bytes) -> None:
        """Return bytes to the source that belong to the next message."""


class Reader(Protocol):
    """A decoder of one body, piece by piece."""

    done: bool
    trailers: list[tuple[str, str]]

    def next_piece(self) -> bytes:
        """Return the next bytes of the body; b"" at its end. Raises Incomplete, BadMessage."""


class LengthReader:
    """A body of a known number of bytes."""

    __slots__ = ("_left", "_source", "done", "trailers")

    def __init__(self, source: Source, length: int) -> None:
        self._source = source
        self._left = length
        self.done = not length
        self.trailers: list[tuple[str, str]] = []

    def next_piece(self) -> bytes:
        if self.done:
            return b""
        data = self._source.read(min(self._left, PIECE))
        if not data:
            raise Incomplete(f"closed before the end of the body; missing bytes: {self._left}")
        self._left -= len(data)
        self.done = not self._left
        return data


class CloseReader:
    """A response body that ends with its connection (RFC 9112 section 6.3 step 8)."""

    __slots__ = ("_source", "done", "trailers")

    def __init__(self, source: Source) -> None:
        self._source = source
        self.done = False
        self.trailers: list[tuple[str, str]] = []

    def next_piece(self) -> bytes:
        data = b"" if self.done else self._source.read(PIECE)
        self.done = not data
        return data


#: Decodes from a position, collects body bytes, returns the new position. An unbound method, to avoid a reference
#: cycle.
_Step: TypeAlias = "Callable[[ChunkedReader, bytes, int, list[bytes]], int]"


class ChunkedReader:
    """A body in chunks (RFC 9112 section 7.1), with the trailer fields that follow it."""

    __slots__ = ("_left", "_pending", "_source", "_step", "done", "trailers")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._left = 0
        self._pending = b""
        self._step: _Step = ChunkedReader._size
        self.done = False
        self.trailers: list[tuple[str, str]] = []

    def next_piece(self) -> bytes:
        while not self.done:
            data = self._source.read(PIECE)
            if not data:
                raise Incomplete("closed before the last chunk")
            decoded = self.feed(data)
            if decoded:
                return decoded
        return b""

    def feed(self, data: bytes) -> bytes:
        """Decode further bytes; return bytes after the end to the source."""
        if self._pending:
            data = self._pending + data
        if self._left > len(data):  # PERF: no copy inside a large chunk
            self._left -= len(data)
            self._pending = b""
            return data
        out: list[bytes] = []
        position, before = 0, -1
        while not self.done and position != before:
            before = position
            position = self._step(self, data, position, out)
        self._pending = b"" if self.done else data[position:]
        if self.done and position < len(data):
            self._source.give_back(data[position:])
        return b"".join(out)

    def _size(self, data: bytes, position: int, out: list[bytes]) -> int:  # noqa: ARG002
        match = _chunk_line(data, position)
        if match is None:
            self._expect_line(data, position, MAX_CHUNK_LINE, "chunk size")
            return position
        self._left = int(match[1], 16)
        if self._left >> 62 or match.end() - position > MAX_CHUNK_LINE:
            raise BadMessage("the chunk size is too large")
        self._step = ChunkedReader._data if self._left else ChunkedReader._trailer
        return match.end()

    def _data(self, data: bytes, position: int, out: list[bytes]) -> int:
        piece = data[position : position + self._left]
        out.append(piece)
        self._left -= len(piece)
        if not self._left:
            self._step = ChunkedReader._data_end
        return position + len(piece)

    def _data_end(self, data: bytes, position: int, out: list[bytes]) -> int:  # noqa: ARG002
        end = data[position : position + 2]
        if not b"\r\n".startswith(end):
            raise BadMessage("a chunk is longer than its size")
        if len(end) < 2:
            return position
        self._step = ChunkedReader._size
        return position + 2

    def _trailer(self, data: bytes, position: int, out: list[bytes]) -> int:  # noqa: ARG002
        end = position + 2 if data.startswith(b"\r\n", position) else data.find(b"\r\n\r\n", position) + 4
        if end == 3:
            self._expect_line(data, position, MAX_TRAILERS, "trailer section")
            return position
        match = _trailer_section(data[position:end].decode("latin-1"))
        if match is None or end - position > MAX_TRAILERS:
            raise BadMessage("a malformed trailer section")
        self.trailers = [(name, value.rstrip(" \t")) for name, value in _trailer_fields(match[1])]
        self.done = True
        return end

    def _expect_line(self, data: bytes, position: int, limit: int, what: str) -> None:
        """Raise BadMessage if the bytes so far cannot become the expected line. Pending bytes were checked before."""
        if len(data) - position > limit or _is_hopeless(data, max(position, len(self._pending) - 1)):
            raise BadMessage(f"a malformed {what}")
        if what == "chunk size" and not _chunk_line_so_far(data, position):
            raise BadMessage("a malformed chunk size")


def reader(framing: int, source: Source) -> Reader:
    """Return a reader for the framing."""
    if framing == CHUNKED:
        return ChunkedReader(source)
    return CloseReader(source) if framing == UNTIL_CLOSE else LengthReader(source, framing)


def chunk(data: bytes) -> bytes:
    """Encode one chunk. `data` must not be empty: an empty chunk ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK: Final = b"0\r\n\r\n"


def last_chunk(trailers: list[tuple[str, str]]) -> bytes:
    """Encode the end of a chunked body, with its trailer section."""
    if not trailers:
        return LAST_CHUNK
    lines = "".join([f"{name}: {value}\r\n" for name, value in trailers])
    return f"0\r\n{lines}\r\n".encode("latin-1")
