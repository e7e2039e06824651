"""The backends of the test kit: what they answer, and the requests that they have got."""

import errno
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from urllib3.connection import HTTPConnection
from urllib3.exceptions import NewConnectionError

from gproxy.config.types import BackendURL
from gproxy.config.types.units import plural
from gproxy.http.body import NO_BODY, Body
from gproxy.http.framing import CHUNKED, ChunkedReader, chunk, last_chunk, request_framing
from gproxy.http.headers import Headers
from gproxy.http.request import Received, Request
from gproxy.http.response import PHRASES, Response
from gproxy.testing.answers import KitAnswer, Refused, Reset, Slow, answer

#: What follows a request on its connection: bytes, a pause in seconds, or the connection's reset.
Step: TypeAlias = bytes | float | Reset

_NO_BODY: Final = (204, 304)


class KitBackend:
    """A backend, or all backends of an upstream; `requests` are those that it has received, completely."""

    def __init__(self, name: str, report: Callable[[BaseException], None]) -> None:
        self.name = name
        self.requests: list[Request] = []
        self._answers: list[KitAnswer] = [answer()]
        self._report = report

    def __repr__(self) -> str:
        return f"<KitBackend {self.name}, {plural(len(self.requests), 'request')}>"

    def answer_with(self, *answers: KitAnswer) -> None:
        """Give these answers from now on, one after the other; the last one again and again."""
        self._answers = list(answers) or [answer()]

    def accept(self, url: BackendURL) -> None:
        """Accept a connection to the URL. Raises urllib3's NewConnectionError if the next answer refuses it."""
        if isinstance(self._answers[0], Refused):
            self._take()
            raise refusal(url)

    def _take(self) -> KitAnswer:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def steps(self, request: Request) -> Iterator[Step]:
        """Yield what follows the request on its connection."""
        __tracebackhide__ = True
        if isinstance(self._answers[0], Refused):  # on a connection of before: the next one is refused
            yield Reset()
            return
        self.requests.append(request)
        try:
            yield from _answered(self._take(), request)
        except Exception as error:  # noqa: BLE001 a test's function may raise anything
            self._report(error)
            yield Reset()


def _answered(found: KitAnswer | Response, request: Request) -> Iterator[Step]:
    """Yield what the answer does; a function returns the response, or another answer."""
    __tracebackhide__ = True
    while not isinstance(found, Response):
        if isinstance(found, Slow):
            yield found.seconds
            found = found.then
        elif isinstance(found, Reset | Refused):
            yield Reset()
            return
        else:
            found = found(request)
    yield from written(found, request.method)


def refusal(url: BackendURL) -> NewConnectionError:
    """Return the error of a connection that is refused."""
    error = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    made = NewConnectionError(HTTPConnection(url.host, url.port), f"Failed to establish a new connection: {error}")
    made.__cause__ = error
    return made


def written(response: Response, method: str) -> Iterator[Step]:
    """Yield the response on the wire; its pieces may be pauses and resets as well."""
    headers, body = response.headers.copy(), response.raw_body
    has_body = method != "HEAD" and response.status not in _NO_BODY
    if isinstance(body, bytes) and response.status not in _NO_BODY and (body or "content-length" not in headers):
        headers.put("Content-Length", "content-length", str(len(body)))
    is_chunked = has_body and "content-length" not in headers
    if is_chunked:
        headers.put("Transfer-Encoding", "transfer-encoding", "chunked")
    phrase = response.phrase or PHRASES.get(response.status, "")
    head = f"HTTP/1.1 {response.status} {phrase}\r\n{headers.lines()}\r\n".encode("latin-1")
    if isinstance(body, bytes):
        yield head + (body if has_body else b"")
        return
    yield head
    if not has_body:
        return
    pieces: Any = body
    for piece in pieces:
        yield from _paced(piece, is_chunked=is_chunked)
    if is_chunked:
        yield last_chunk([])


def _paced(piece: object, *, is_chunked: bool) -> Iterator[Step]:
    if isinstance(piece, Slow):
        yield piece.seconds
    elif isinstance(piece, Reset):
        yield piece
    elif isinstance(piece, bytes) and piece:
        yield chunk(piece) if is_chunked else piece


class RequestReader:
    """The requests on one connection to a backend, from the bytes that the gateway sends."""

    def __init__(self) -> None:
        self._buffer = b""
        self._request: Request | None = None
        self._chunks: ChunkedReader | None = None
        self._body: list[bytes] = []
        self._missing = 0

    def feed(self, data: bytes) -> Request | None:
        """Return the request once it is complete; None before."""
        self._buffer += data
        if self._request is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return None
            self._begin(self._buffer[:end].decode("latin-1"), self._buffer[end + 4 :])
        return self._complete()

    def _begin(self, head: str, rest: bytes) -> None:
        line, *fields = head.split("\r\n")
        method, target, _ = line.split(" ")
        headers = Headers([(name, value.strip()) for name, _, value in (field.partition(":") for field in fields)])
        path, _, query = target.partition("?")
        received = Received(method, target, 1, headers, "192.0.2.254")
        self._request = Request(received, headers.copy(), headers.get("Host", ""), path, query)
        framing = request_framing(headers, 1)
        self._chunks = ChunkedReader(self) if framing == CHUNKED else None
        self._missing, self._buffer, self._body = max(framing, 0), rest, []

    def _complete(self) -> Request | None:
        """Take the received part of the body, and return the request if it is complete."""
        data, self._buffer = self._buffer, b""
        if self._chunks is not None:
            self._body.append(self._chunks.feed(data) if data else b"")
            is_complete = self._chunks.done
        else:
            self._body.append(data[: self._missing])
            self._buffer = data[self._missing :]
            self._missing -= len(self._body[-1])
            is_complete = not self._missing
        request = self._request
        if not is_complete or request is None:
            return None
        self._request = None
        whole = b"".join(self._body)
        request.body = Body(whole) if whole else NO_BODY
        return request

    def read(self, limit: int) -> bytes:  # noqa: ARG002 as a Source has it
        """Return nothing: the bytes come by `feed`."""
        return b""

    def give_back(self, data: bytes) -> None:
        """Keep the bytes behind the last chunk."""
        self._buffer = data + self._buffer
