"""The server that `gproxy replay` sends requests to, and the pace at which it does."""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from http.client import HTTPResponse as ReceivedResponse
from threading import Event
from typing import Final

from urllib3 import HTTPHeaderDict, HTTPResponse
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.util import SKIP_HEADER, parse_url

from gproxy.recording.diff import Side
from gproxy.recording.replaying import Answer, ReplayRequest, is_safe

#: Seconds to connect, to wait for each part of a response, and for a whole body.
_CONNECT: Final = 5.0
_READ: Final = 60.0
_WHOLE: Final = 120.0
#: The longest body that is read, and the piece of one read, in bytes.
_LONGEST: Final = 64 * 1024 * 1024
_PIECE: Final = 64 * 1024
#: What an exchange may end with.
_ERRORS: Final = (HTTPError, HTTPException, OSError, ValueError)
_KINDS: Final[Mapping[str | None, type[HTTPConnection]]] = {"http": HTTPConnection, "https": HTTPSConnection}
#: Fields that urllib3 adds by itself.
_ADDED: Final = ("Accept-Encoding", "User-Agent")


class _FinalResponse(ReceivedResponse):
    """A response without the interim ones before it: http.client takes a 103 for the final one."""

    def begin(self) -> None:
        super().begin()
        while self.status < 200 and self.status != 101:
            self.headers = None  # type: ignore[assignment] # a head that is still to be read
            super().begin()


class TargetError(Exception):
    """A target that cannot be used; the message says why."""


class Target:
    """The server at a URL; a path in the URL precedes each path of a request. `send` may run in many threads."""

    def __init__(self, url: str) -> None:
        expected = "expected http://HOST[:PORT][/PATH] or https://…"
        try:
            parsed = parse_url(url)
        except HTTPError:  # its text has the URL
            raise TargetError(f"--against: no URL; {expected}") from None
        if parsed.auth:
            raise TargetError(f"--against: a URL with credentials; {expected}, and --set 'Authorization: …'")
        if parsed.scheme not in _KINDS or not parsed.host or parsed.query:
            raise TargetError(f"{url}: {expected}")
        self.url = url.rstrip("/")
        self._prefix = (parsed.path or "").rstrip("/")
        self._kind = _KINDS[parsed.scheme]
        self._place = parsed.host.strip("[]"), parsed.port
        #: Connections that no thread uses.
        self._idle: list[HTTPConnection] = []

    def probe(self) -> None:
        """Connect once. Raises TargetError if nothing listens."""
        try:
            self._idle.append(self._connect())
        except (HTTPError, OSError) as error:
            raise TargetError(f"{self.url}: {reason(error)}") from None

    def _connect(self) -> HTTPConnection:
        connection = self._kind(self._place[0], self._place[1], timeout=_CONNECT)
        connection.response_class = _FinalResponse
        connection.connect()
        connection.sock.settimeout(_READ)
        return connection

    def _idle_connection(self) -> HTTPConnection | None:
        """Return an idle connection that the server has not closed."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_connected:
                return connection
            connection.close()
        return None

    def send(self, request: ReplayRequest) -> Answer:
        """Send the request as it is recorded, and return what came of it."""
        started = time.perf_counter()
        idle = self._idle_connection()
        if idle is not None and is_safe(request):
            with suppress(*_ERRORS):  # the server may close it at this moment
                return self._exchange(idle, request, started)
            idle = None
        try:
            return self._exchange(idle or self._connect(), request, started)
        except _ERRORS as error:
            return Answer(None, time.perf_counter() - started, reason(error))

    def _exchange(self, connection: HTTPConnection, request: ReplayRequest, started: float) -> Answer:
        try:
            # The pool of urllib3 would change the spelling of the target.
            connection.request(
                request.method,
                self._prefix + request.target,
                body=request.body or None,
                headers=_fields(request),
                preload_content=False,
                decode_content=False,
            )
            response = connection.getresponse()
            body = _read(response, started + _WHOLE)
        except BaseException:
            connection.close()
            raise
        if body is not None and connection.is_connected:
            self._idle.append(connection)
        else:
            connection.close()
        headers = tuple(response.headers.iteritems())
        return Answer(Side(response.status, headers, body, _id(headers)), time.perf_counter() - started)

    def close(self) -> None:
        """Close the connections."""
        for connection in self._idle:
            connection.close()


def reason(error: Exception) -> str:
    """Return the cause of an error of urllib3 in a few words."""
    found: BaseException = error
    while (cause := found.__cause__ or found.__context__) is not None and not isinstance(found, OSError):
        found = cause
    if isinstance(found, OSError) and found.strerror:
        return found.strerror.lower()
    text = str(error).strip()  # the line of a server that does not speak HTTP has its end
    return text.partition(": ")[2] or text if isinstance(error, NewConnectionError) else text


def _fields(request: ReplayRequest) -> HTTPHeaderDict:
    fields = HTTPHeaderDict()
    for name, value in request.headers:
        fields.add(name, value)
    for name in _ADDED:
        if name not in fields:
            fields[name] = SKIP_HEADER
    return fields


def _read(response: HTTPResponse, end: float) -> bytes | None:
    """Return the body as it was sent; None if it has no natural end, is too long, or takes too long."""
    if response.headers.get("Content-Type", "").startswith("text/event-stream"):
        return None
    pieces, size = [], 0
    while piece := response.read1(_PIECE, decode_content=False):  # `read` waits for a whole piece, however slow
        pieces.append(piece)
        size += len(piece)
        if size > _LONGEST or time.perf_counter() > end:
            return None
    return b"".join(pieces)


def _id(headers: Iterable[tuple[str, str]]) -> str:
    return next((value for name, value in headers if name.lower() == "x-request-id"), "")


class Pace:
    """The moments at which requests are sent: as far apart as recorded, divided by `speed`; at once without it."""

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._first: tuple[float, float] | None = None
        self._never = Event()

    def wait(self, recorded: float) -> None:
        """Wait until a request that was recorded at this time may be sent."""
        if self._speed is None:
            return
        now = time.monotonic()
        if self._first is None:
            self._first = (recorded, now)
        start, began = self._first
        self._never.wait(max(0.0, began + (recorded - start) / self._speed - now))


def send_all(
    requests: Iterable[ReplayRequest],
    send: Callable[[ReplayRequest], Answer],
    concurrency: int,
    pace: Pace,
    may_send: Callable[[ReplayRequest], bool],
) -> list[tuple[ReplayRequest, Answer]]:
    """Send the requests in their order, at most so many at a time, and return the answers in this order."""
    sent = []
    pool = ThreadPoolExecutor(concurrency)
    try:
        for request in requests:
            pace.wait(request.at)
            if may_send(request):
                sent.append((request, pool.submit(send, request)))
        return [(request, future.result()) for request, future in sent]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
