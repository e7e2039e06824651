"""The output of an app: `start_response`, and the body up to its Content-Length."""

import re
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Final

from gproxy.http.errors import BadMessage
from gproxy.http.framing import content_length
from gproxy.http.header_names import RESPONSE_HOP_BY_HOP, is_field_value
from gproxy.http.headers import Headers
from gproxy.http.response import Response

_status: Final = re.compile(r"([2-5][0-9]{2})(?: (.*))?").fullmatch
#: The statuses whose responses have no body (RFC 9110 section 6.4.1).
_BODILESS: Final = frozenset({204, 304})
#: The most bytes that `write` keeps.
MOST_WRITTEN: Final = 1024 * 1024

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


class AppOutput:
    """The response of one call of an app."""

    def __init__(self) -> None:
        self._status = 0
        self._phrase = ""
        self._headers: Headers | None = None
        self._written: list[bytes] = []
        self._written_size = 0
        self._has_begun = False

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """Set status and headers, and return `write`. Raise ValueError or TypeError for what a response cannot have.

        With `exc_info` replace earlier ones; once the response has begun, raise that exception again.
        """
        if exc_info is not None:
            if self._has_begun and exc_info[1] is not None:
                raise exc_info[1].with_traceback(exc_info[2])
        elif self._headers is not None:
            raise RuntimeError("the app has called start_response twice, without exc_info")
        match = _status(status)
        if match is None:
            raise ValueError(f"the app's response has the status {status!r}; expected one from 200 to 599: 200 OK")
        phrase = match[2] or ""
        if not is_field_value(phrase):
            raise ValueError(f"the app's response has the reason phrase {phrase!r}; expected characters of a field")
        found = Headers(headers)
        for key in found.names():
            if key in RESPONSE_HOP_BY_HOP:
                raise ValueError(f"the app's response has the field {key}, which belongs to the connection (PEP 3333)")
        found.is_stripped = True
        self._status, self._phrase, self._headers = int(match[1]), phrase, found
        return self.write

    def write(self, data: bytes) -> None:
        """Keep a piece, which comes before those of the app's iterable.

        Raise RuntimeError once these have begun, and for more than MOST_WRITTEN bytes in all.
        """
        if self._has_begun:
            raise RuntimeError("the app calls write() while its iterable is read")
        self._written_size += len(_checked(data))
        if self._written_size > MOST_WRITTEN:
            raise RuntimeError(f"the app passes more than {MOST_WRITTEN} bytes to write(); expected an iterable")
        if data:
            self._written.append(data)

    def response(self, result: Iterable[bytes], method: str, warn: Callable[[str], None]) -> Response:
        """Return the response, once its first piece that is not empty is there.

        `warn` gets a problem that the client does not see. Raise RuntimeError if the app has not called
        `start_response` by then, or gives fewer bytes than its Content-Length; the body raises that too.
        """
        pieces = iter(result)
        first = b"" if self._written else _first(pieces)
        first = b"".join([*self._written, first])  # a generator may write before its first piece
        headers = self._headers
        if headers is None:
            raise RuntimeError("the app has not called start_response before the first piece of its response")
        self._has_begun = True
        length = _length(headers)
        body: bytes | Iterable[bytes]
        if method == "HEAD" or self._status in _BODILESS:
            body = b""
        elif self._is_whole(first, result, length):
            body = first if length is None else _end(first, 0, length, warn)
        else:
            body = _until(first, pieces, length, warn)
        return Response.forwarded(self._status, self._phrase, headers, body)

    def _is_whole(self, first: bytes, result: object, length: int | None) -> bool:
        """Return whether nothing can follow the first piece, so that the body need not be streamed."""
        if not first:
            return True
        return not self._written and _is_single(result) if length is None else len(first) >= length


def _checked(piece: object) -> bytes:
    if not isinstance(piece, bytes):
        raise TypeError(f"the app yields {type(piece).__name__}, expected bytes")
    return piece


def _first(pieces: Iterator[bytes]) -> bytes:
    """Return the first piece that is not empty; b"" if there is none."""
    return next((piece for piece in map(_checked, pieces) if piece), b"")


def _is_single(result: object) -> bool:
    return isinstance(result, list | tuple) and len(result) == 1


def _length(headers: Headers) -> int | None:
    if headers.lookup("content-length") is None:
        return None
    try:
        return content_length(headers)
    except BadMessage as error:
        raise ValueError(f"the app's response has a wrong Content-Length: {error}") from None


def _end(piece: bytes, sent: int, length: int, warn: Callable[[str], None]) -> bytes:
    """Return the last piece, up to the length. Raise RuntimeError if it is too short."""
    left_over = sent + len(piece) - length
    if left_over > 0:
        warn(f"the app's response exceeds its Content-Length of {length}; the rest is cut off")
        return piece[:-left_over]
    if left_over < 0:
        raise RuntimeError(f"the app's response has {sent + len(piece)} bytes, expected {length} by its Content-Length")
    return piece


def _until(piece: bytes, pieces: Iterator[Any], length: int | None, warn: Callable[[str], None]) -> "AppResponseBody":
    return AppResponseBody(_limited(piece, pieces, length, warn) if length is not None else _all(piece, pieces))


class AppResponseBody:
    """The pieces of an app's response, which the client gets as they come."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._pieces)
        except SystemExit as error:
            raise left(error) from error


def left(error: SystemExit) -> RuntimeError:
    """Return the error of an app that wants to end the process."""
    return RuntimeError(f"the app has called sys.exit({'' if error.code is None else error.code!r})")


def _all(piece: bytes, pieces: Iterator[Any]) -> Iterator[bytes]:
    yield piece
    for following in pieces:
        if following:
            yield _checked(following)


def _limited(piece: bytes, pieces: Iterator[Any], length: int, warn: Callable[[str], None]) -> Iterator[bytes]:
    """Yield the pieces until so many bytes are out. An app that goes on after its last byte is not waited for."""
    sent = 0
    for following in _all(piece, pieces):
        if sent + len(following) >= length:
            yield _end(following, sent, length, warn)
            return
        sent += len(following)
        yield following
    _end(b"", sent, length, warn)
