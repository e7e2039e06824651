"""What a client gets: a status, headers, and a body that is bytes or iterates over bytes."""

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from gproxy.http.headers import FIELD_CHAR, Headers, HeadersLike
from gproxy.http.one_chunk import Whole

_log = logging.getLogger("gproxy")

#: RFC 9110's phrases, where Python still has older ones too.
PHRASES = {status.value: status.phrase for status in HTTPStatus} | {413: "Content Too Large", 414: "URI Too Long"}

#: What speaks of the old body's bytes once it is replaced (RFC 9110 section 8.6, RFC 9530).
_OF_THE_BODY = ("content-length", "content-md5", "digest", "content-digest", "repr-digest")

#: RFC 9112 section 4
_is_phrase = re.compile(f"{FIELD_CHAR}*").fullmatch


def _checked(body: Any) -> bytes | Iterable[bytes]:
    """What iterates over anything but bytes is refused now, not in the middle of the response."""
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        raise TypeError("a response's body is bytes, not text; encode it")
    if isinstance(body, bytearray | memoryview):
        return bytes(body)
    if isinstance(body, Mapping) or not hasattr(body, "__iter__"):
        raise TypeError(f"a response's body is bytes, or iterates over bytes; {type(body).__name__} does neither")
    if isinstance(body, list | tuple) and any(isinstance(piece, str) for piece in body):
        raise TypeError("a response's body yields bytes, not text; encode it")
    pieces: Iterable[bytes] = body
    return pieces


def _check_status(status: int) -> None:
    if not 200 <= status <= 599:
        raise ValueError(f"a response has a status from 200 to 599, not {status}")


class Response:
    """A tunnel, an event stream, an error page and a cached answer are all this.

    Assigning `body` drops Content-Length and digests, another `status` drops the phrase. Raises ValueError for a status
    outside 200 to 599, TypeError for a body that is text: only whoever wrote it knows its encoding.
    """

    __slots__ = ("_body", "_callbacks", "_phrase", "_status", "headers")

    @classmethod
    def __init_subclass__(cls) -> None:
        """Raises TypeError at once: compiled, an instance could not be made, which would only be noticed then."""
        raise TypeError("Response cannot be subclassed; write a function that makes one")

    def __init__(self, status: int = 200, body: bytes | Iterable[bytes] = b"", headers: HeadersLike = ()) -> None:
        _check_status(status)
        self._status = status
        self._phrase = ""
        self.headers = headers if isinstance(headers, Headers) else Headers(headers)
        self._body = _checked(body)
        self._callbacks: list[Callable[[], None]] | None = None

    @classmethod
    def forwarded(cls, status: int, phrase: str, headers: Headers, body: bytes | Iterable[bytes]) -> "Response":
        """A backend's response, checked by the wire grammar already."""
        self = cls()
        self._status = status
        self._phrase = phrase
        self.headers = headers
        self._body = body
        self._callbacks = None
        return self

    @property
    def status(self) -> int:
        return self._status

    @status.setter
    def status(self, status: int) -> None:
        if status != self._status:
            _check_status(status)
            self._status = status
            self._phrase = ""

    @property
    def phrase(self) -> str:
        """The reason phrase; empty for the status's own."""
        return self._phrase

    @phrase.setter
    def phrase(self, phrase: str) -> None:
        if not _is_phrase(phrase):
            raise ValueError("the reason phrase holds characters that none may have")
        self._phrase = phrase

    @property
    def body(self) -> bytes | Iterable[bytes]:
        """Bytes if it is at hand, else it yields them; both can be iterated over, piece by piece."""
        if type(self._body) is bytes:
            self._body = Whole(self._body)
        return self._body

    @body.setter
    def body(self, body: bytes | Iterable[bytes]) -> None:
        self._body = _checked(body)
        for key in _OF_THE_BODY:
            self.headers.discard(key)

    @property
    def pieces(self) -> Iterable[bytes]:
        """The body, with a type that says what it yields; what is at hand is one piece."""
        if isinstance(self._body, bytes):
            return (bytes(self._body),)
        return self._body

    def on_close(self, callback: Callable[[], None], *, last: bool = False) -> None:
        """Call it once the last byte is out, or the client has left; newest first, or after those there are now."""
        if self._callbacks is None:
            self._callbacks = []
        if last:
            self._callbacks.insert(0, callback)
        else:
            self._callbacks.append(callback)

    def close(self) -> None:
        """Run the callbacks, each once; one that raises is logged and does not keep the others from running."""
        while self._callbacks:
            callback = self._callbacks.pop()
            try:
                callback()
            except Exception:
                _log.exception("an on_close callback failed: %r", callback)
            except BaseException:
                self.close()
                raise

    def read(self) -> bytes:
        """All of the body, and close; for tests and for handlers that need it whole."""
        if not isinstance(self._body, bytes):
            try:
                self._body = b"".join(self._body)
            finally:
                self.close()
        return bytes(self._body)

    def __repr__(self) -> str:
        return f"<Response {self.status}>"
