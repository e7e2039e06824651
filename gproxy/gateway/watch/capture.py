"""The bounded capture of one exchange: the request as it came, each attempt at a backend, the response as it went out.

Bodies are copied up to a bound while they pass. Nothing waits for a copy: streams, uploads, tunnels and retries go the
same way as without a capture.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from gproxy.http.body import NO_BODY, Body
from gproxy.http.framing import Reader
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.upstream.backend import Backend
from gproxy.upstream.connection import BackendConnection
from gproxy.upstream.failure import Failure
from gproxy.upstream.forwarder.response_body import BackendBody

#: The most attempts of an exchange that are kept; the calls of its handlers count, too.
MOST_ATTEMPTS: Final = 20
#: The most bytes that the captures under way keep together: clients decide how many there are.
MOST_KEPT: Final = 64 * 1024 * 1024


class Room:
    """The room that captures share, in bytes."""

    __slots__ = ("left",)

    def __init__(self, size: int = MOST_KEPT) -> None:
        self.left = size


class PassedBytes:
    """The beginning of the bytes that have passed, up to a limit and the room; `size` counts all of them."""

    __slots__ = ("_limit", "_room", "is_whole", "kept", "size")

    def __init__(self, limit: int, room: Room) -> None:
        self._limit = limit
        self._room = room
        self.kept = bytearray()
        self.size = 0
        #: True once the end has passed.
        self.is_whole = False

    def add(self, data: bytes) -> None:
        """Keep as much of the data as there is room for."""
        self.size += len(data)
        most = min(self._limit - len(self.kept), self._room.left)
        if most > 0:
            begin = data[:most]
            self.kept += begin
            self._room.left -= len(begin)

    def end_with(self, data: bytes) -> None:
        """Add the last bytes."""
        self.add(data)
        self.is_whole = True

    def release(self) -> None:
        """Give back the room, and keep no further bytes."""
        self._room.left += len(self.kept)
        self._limit = 0


class CapturedAttempt:
    """An attempt at a backend, or a call of a handler. Times are those of the deadline's clock."""

    __slots__ = (
        "backend", "began", "body", "ended", "error", "head", "headers", "is_shared", "owner", "response_body",
        "response_trailers", "sent_body", "status", "upstream",
    )  # fmt: skip

    def __init__(self, owner: Request, upstream: str, backend: str, *, is_shared: bool = False) -> None:
        #: The request that was sent: the client's, a copy of it, or a handler's own.
        self.owner = owner
        #: True for an attempt of a look-up whose result other requests get, too.
        self.is_shared = is_shared
        self.upstream = upstream
        self.backend = backend
        self.began = self.ended = owner.deadline.clock()
        #: The request head as sent; empty if no connection could be opened.
        self.head = b""
        #: The body that was sent, and what is kept of it.
        self.sent_body = NO_BODY
        self.body: PassedBytes | None = None
        #: The response as the backend has sent it; 0 if there was none.
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.response_body: PassedBytes | None = None
        #: What has the trailers of the response, once its body has passed.
        self.response_trailers: BackendBody | None = None
        #: Why there is no response, in one word.
        self.error = ""

    @property
    def is_open(self) -> bool:
        """True before the attempt has a response or an error."""
        return not self.status and not self.error


class Capture:
    """The capture of one exchange. `limit` is the most bytes that are kept of each body; 0: no bodies.

    It shares the room for bodies with the other captures.
    """

    def __init__(self, request: Request, limit: int, rules: "tuple[Any, ...]" = (), room: Room | None = None) -> None:
        self.request = request
        self.limit = limit
        #: Who gets the capture, once the exchange has ended.
        self.rules = rules
        self.started = request.deadline.clock()
        self.attempts: list[CapturedAttempt] = []
        self.omitted_attempts = 0
        #: The response, whose fields are complete once it is sent; None if there was none.
        self.response: Response | None = None
        self.response_body: PassedBytes | None = None
        self._room = room or Room()
        self._passed: list[PassedBytes] = []
        self._bodies: list[tuple[Body, PassedBytes]] = []
        self._sources: list[tuple[object, PassedBytes]] = []
        #: The body as it comes, which a handler may replace.
        self.received_body = request.body
        self.body = self._of_request(request.body)

    def begin(self, request: Request, upstream: str, backend: Backend, *, is_shared: bool = False) -> None:
        """Note that an attempt begins."""
        if len(self.attempts) >= MOST_ATTEMPTS:
            self.omitted_attempts += 1
        else:
            self.attempts.append(CapturedAttempt(request, upstream, backend.name, is_shared=is_shared))

    def sent(self, request: Request, head: bytes) -> None:
        """Note the head that the backend of the request's attempt gets now, and the body that follows it."""
        attempt = next((one for one in reversed(self.attempts) if one.owner is request and one.is_open), None)
        if attempt is not None:
            attempt.head, attempt.sent_body = head, request.body
            attempt.body = self._of_request(request.body)

    def answered(self, request: Request, backend: Backend, response: Response) -> None:
        """Note the response of the backend, before a handler changes it."""
        attempt = self._attempt(request, backend)
        if attempt is None:
            return
        attempt.ended = request.deadline.clock()
        attempt.status, attempt.headers = response.status, response.headers.items()
        body = response.raw_body
        if isinstance(body, BackendBody):
            attempt.response_trailers = body
        if isinstance(body, bytes):
            attempt.response_body = self._whole(body)
        elif isinstance(body, CapturedBody):
            attempt.response_body = body.passed
            self._sources.append((body, body.passed))

    def failed(self, request: Request, backend: Backend, why: str) -> None:
        """Note why an attempt has brought no response, in one word."""
        attempt = self._attempt(request, backend)
        if attempt is not None:
            attempt.ended, attempt.error = request.deadline.clock(), why

    def finish_response(self, response: Response) -> None:
        """Note the response of the chain, and copy its body while it is sent."""
        self.response = response
        body = response.raw_body
        if response.status == 101 or not self.limit:
            return
        if isinstance(body, bytes):
            self.response_body = self._whole(body)
            return
        self.response_body = next((passed for source, passed in self._sources if source is body), None)
        if self.response_body is None:
            self.response_body = self.passed()
            response.observe_body(CopiedBody(body, self.response_body))

    def passed(self) -> PassedBytes:
        """Return where to keep the beginning of a further body."""
        passed = PassedBytes(self.limit, self._room)
        self._passed.append(passed)
        return passed

    def release(self) -> None:
        """Give back the room for bodies; what is kept stays."""
        for passed in self._passed:
            passed.release()
        self._passed.clear()

    def _whole(self, data: bytes) -> PassedBytes | None:
        if not self.limit:
            return None
        passed = self.passed()
        passed.end_with(data)
        return passed

    def _of_request(self, body: Body) -> PassedBytes | None:
        """Copy the body from now on, once for all attempts that send it; None without one."""
        if body is NO_BODY or not self.limit:
            return None
        for known, passed in self._bodies:
            if known is body:
                return passed
        passed = self.passed()
        if body.reader is None:
            passed.end_with(body.at_hand)
        else:
            passed.add(body.at_hand)
            passed.is_whole = body.reader.done
            body.reader = CopiedReader(body.reader, passed)
        self._bodies.append((body, passed))
        return passed

    def _attempt(self, request: Request, backend: Backend) -> CapturedAttempt | None:
        """Return the latest attempt of the request that has no end; of a hedge, the one at that backend."""
        open_ones = [one for one in reversed(self.attempts) if one.is_open]
        own = next((one for one in open_ones if one.owner is request and one.backend == backend.name), None)
        return own or next((one for one in open_ones if one.backend == backend.name), None)


class LentCapture(Capture):
    """A capture in which a look-up notes its attempts while the request that has begun it lasts.

    The look-up may go on after the request, and then keeps neither the request nor its capture.
    """

    def __init__(self, capture: Capture) -> None:  # it has no other fields
        self._lender: Capture | None = capture
        self.limit = capture.limit

    def begin(self, request: Request, upstream: str, backend: Backend, *, is_shared: bool = True) -> None:
        """Note that an attempt of the look-up begins."""
        if self._lender is not None:
            self._lender.begin(request, upstream, backend, is_shared=is_shared)

    def sent(self, request: Request, head: bytes) -> None:
        """Note the head that the backend of the request's attempt gets now, and the body that follows it."""
        if self._lender is not None:
            self._lender.sent(request, head)

    def answered(self, request: Request, backend: Backend, response: Response) -> None:
        """Note the response of the backend."""
        if self._lender is not None:
            self._lender.answered(request, backend, response)

    def failed(self, request: Request, backend: Backend, why: str) -> None:
        """Note why an attempt has brought no response, in one word."""
        if self._lender is not None:
            self._lender.failed(request, backend, why)

    def passed(self) -> PassedBytes:
        """Return where to keep the beginning of a further body; nothing is kept after the request."""
        return PassedBytes(0, Room(0)) if self._lender is None else self._lender.passed()

    def end(self) -> None:
        """End the loan: the request has ended."""
        self._lender = None


class CopiedReader:
    """A reader of a request's body that copies what it reads."""

    def __init__(self, reader: Reader, passed: PassedBytes) -> None:
        self._reader = reader
        self._passed = passed
        self.done = reader.done
        self.trailers = reader.trailers

    def next_piece(self) -> bytes:
        """Return the next bytes; b"" at the end."""
        data = self._reader.next_piece()
        self.done, self.trailers = self._reader.done, self._reader.trailers
        self._passed.add(data)
        self._passed.is_whole = self.done
        return data


class CapturedBody(BackendBody):
    """A backend's response body that is copied while it passes."""

    def __init__(
        self,
        at_hand: bytes,
        rest: Reader,
        request: Request,
        lease: tuple[Backend, BackendConnection, bool],
        limit: TimeLimit,
        record_failure: Callable[[Request, Backend, Failure], None],
        passed: PassedBytes,
    ) -> None:
        super().__init__(at_hand, rest, request, lease, limit, record_failure)
        self.passed = passed

    def __next__(self) -> bytes:
        try:
            data = super().__next__()
        except StopIteration:
            self.passed.is_whole = True
            raise
        self.passed.add(data)
        return data


class CopiedBody:
    """A body of a handler that is copied while it is sent."""

    def __init__(self, body: Iterable[bytes], passed: PassedBytes) -> None:
        self._body = body
        self._pieces: Iterator[Any] | None = None
        self._passed = passed

    @property
    def trailers(self) -> list[tuple[str, str]]:
        """The trailers of the body, if it has some."""
        found: list[tuple[str, str]] = getattr(self._body, "trailers", [])
        return found

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:  # noqa: ANN401 a handler yields what it likes, and the writer rejects it
        if self._pieces is None:
            self._pieces = iter(self._body)
        try:
            piece = next(self._pieces)
        except StopIteration:
            self._passed.is_whole = True
            raise
        if isinstance(piece, bytes | bytearray | memoryview):
            self._passed.add(bytes(piece))
        return piece
