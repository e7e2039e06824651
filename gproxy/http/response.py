"""The response to a client: status, headers, and a body that is bytes or iterates over bytes."""

import logging
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from gproxy.http.header_names import is_field_value
from gproxy.http.headers import Headers, HeadersLike
from gproxy.http.json_body import MEDIA_TYPE, dumped, parsed
from gproxy.http.one_chunk import Whole

_log = logging.getLogger("gproxy")

#: The phrases of RFC 9110; older versions of Python have outdated ones.
PHRASES = {status.value: status.phrase for status in HTTPStatus} | {413: "Content Too Large", 414: "URI Too Long"}

#: Fields that describe the bytes of the old body; removed with it (RFC 9110 section 8.6, RFC 9530).
_OF_THE_BODY = ("content-length", "content-md5", "digest", "content-digest", "repr-digest")

#: Media types whose pieces come when something happens: the pauses between them say nothing of the backend.
_EVENT_STREAMS = frozenset({"text/event-stream", "multipart/x-mixed-replace"})


def is_event_stream(headers: Headers) -> bool:
    """Return whether the Content-Type is that of an event stream, whose pauses have `tunnel_timeout`."""
    kind = headers.lookup("content-type")
    return kind is not None and kind.partition(";")[0].strip().lower() in _EVENT_STREAMS


def _checked(body: object) -> bytes | Iterable[bytes]:
    """Reject a body that cannot yield bytes now, instead of in the middle of the response."""
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        raise TypeError("a response's body is bytes, not text; encode it")
    if isinstance(body, bytearray | memoryview):
        return bytes(body)
    if isinstance(body, Mapping) or not isinstance(body, Iterable):
        raise TypeError(f"a response's body is bytes, or iterates over bytes; {type(body).__name__} does neither")
    if isinstance(body, list | tuple) and any(isinstance(piece, str) for piece in body):
        raise TypeError("a response's body yields bytes, not text; encode it")
    return body


def _check_status(status: int) -> None:
    if not 200 <= status <= 599:
        raise ValueError(f"a response has a status from 200 to 599, not {status}")


class ResponseHead:
    """The head of a backend's response, as the forwarder uses it, of whatever protocol."""

    __slots__ = ("framing", "headers", "keep", "phrase", "status", "upgrade")

    def __init__(
        self, status: int, phrase: str, headers: Headers, framing: int, *, keep: bool = False, upgrade: str = ""
    ) -> None:
        self.status = status
        #: The words after the status; empty in HTTP/2.
        self.phrase = phrase
        #: The fields without the hop-by-hop ones; a response gets a copy.
        self.headers = headers
        #: Where the body ends: see `http/framing.py`; 0 without a body.
        self.framing = framing
        #: True if the connection can take the next request: never a stream of HTTP/2, which has one exchange.
        self.keep = keep
        #: The value of Upgrade, in lower case.
        self.upgrade = upgrade

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status}>"


class Response:
    """A response of any kind: a tunnel, an event stream, an error page, a cached response.

    Assigning `body` drops Content-Length and digests; assigning another `status` drops the phrase. Raises ValueError
    for a status outside 200 to 599, and TypeError for a text body, because only its author knows the encoding.
    """

    __slots__ = ("_body", "_callbacks", "_phrase", "_status", "headers")

    @classmethod
    def __init_subclass__(cls) -> None:
        """Raise TypeError at once: in a compiled build, only the first instance of a subclass would fail."""
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
        """Return the response of a backend, which the wire grammar has checked."""
        self = cls()
        self._status = status
        self._phrase = phrase
        self.headers = headers
        self._body = body
        self._callbacks = None
        return self

    @classmethod
    def from_json(cls, value: Any, status: int = 200) -> "Response":  # noqa: ANN401 any JSON
        """Return a response with this value in JSON. Raises TypeError or ValueError for what JSON does not have."""
        return cls(status, dumped(value), {"Content-Type": MEDIA_TYPE})

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
        """The reason phrase; empty for the standard phrase of the status."""
        return self._phrase

    @phrase.setter
    def phrase(self, phrase: str) -> None:
        if not is_field_value(phrase):
            raise ValueError("the reason phrase has characters that a reason phrase must not have")
        self._phrase = phrase

    @property
    def body(self) -> bytes | Iterable[bytes]:
        """Bytes in memory, or an iterable of bytes; both iterate by chunk."""
        if type(self._body) is bytes:
            self._body = Whole(self._body)
        return self._body

    @body.setter
    def body(self, body: bytes | Iterable[bytes]) -> None:
        self._body = _checked(body)
        for key in _OF_THE_BODY:
            self.headers.discard(key)

    @property
    def raw_body(self) -> bytes | Iterable[bytes]:
        """The body as it is stored. PERF: bytes stay as they are, while `body` makes them iterate by chunk."""
        return self._body

    @property
    def pieces(self) -> Iterable[bytes]:
        """The body as an iterable of bytes; bytes in memory are one chunk."""
        if isinstance(self._body, bytes):
            return (bytes(self._body),)
        return self._body

    @property
    def has_callbacks(self) -> bool:
        """True if `close` has something to do."""
        return bool(self._callbacks)

    def on_close(self, callback: Callable[[], None], *, last: bool = False) -> None:
        """Register a callback for after the last byte or the client's disconnect.

        Callbacks run newest first; one with `last` runs after all present ones.
        """
        if self._callbacks is None:
            self._callbacks = []
        if last:
            self._callbacks.insert(0, callback)
        else:
            self._callbacks.append(callback)

    def close(self) -> None:
        """Run the callbacks, each once. An exception is logged and does not stop the others."""
        while self._callbacks:
            callback = self._callbacks.pop()
            try:
                callback()
            except Exception:  # noqa: BLE001 a callback may raise anything
                _log.exception("an on_close callback failed: %r", callback)
            except BaseException:
                self.close()
                raise

    def restore(self, status: int, phrase: str, headers: Headers, body: bytes | Iterable[bytes]) -> None:
        """Take back what a handler has changed; callbacks stay."""
        self._status = status
        self._phrase = phrase
        self.headers = headers
        self._body = body

    def observe_body(self, body: bytes | Iterable[bytes]) -> None:
        """Put this body in place of one with the same bytes: the fields about the body stay."""
        self._body = body

    def read(self) -> bytes:
        """Return the whole body and close; for tests and for handlers that need all of it."""
        if not isinstance(self._body, bytes):
            try:
                self._body = b"".join(self._body)
            finally:
                self.close()
        return bytes(self._body)

    def json(self) -> Any:  # noqa: ANN401 any JSON
        """Read the whole body, and return its value. Raises ValueError for what is no JSON."""
        return parsed(self.read())

    def __repr__(self) -> str:
        return f"<Response {self.status}>"
