"""A backend's response body, and the lease of its connection."""

from collections.abc import Callable, Iterator

from gproxy.http.errors import BadMessage
from gproxy.http.forwarding import passable
from gproxy.http.framing import Reader
from gproxy.http.header_names import FORBIDDEN_TRAILERS
from gproxy.http.phase import BODY
from gproxy.http.request import Request
from gproxy.http.time_limit import TimeLimit
from gproxy.upstream.backend import Backend
from gproxy.upstream.connection import BackendConnection
from gproxy.upstream.errors import BrokenBodyError
from gproxy.upstream.failure import Failure, failure_of


class BackendBody:
    """A backend's response body; iterate over it once.

    The iteration raises BrokenBodyError if the backend breaks off. It raises Expired if a piece does not come in time;
    that is the gateway's own limit, and no failure of the backend. It raises HTTPError or ClientGone if the client
    breaks off an upload that continues beside the response.
    """

    def __init__(
        self,
        at_hand: bytes,
        rest: Reader,
        request: Request,
        lease: tuple[Backend, BackendConnection, bool],
        limit: TimeLimit,
        record_failure: Callable[[Request, Backend, Failure], None],
    ) -> None:
        #: The bytes that arrived together with the head; the client gets them together with the head.
        self.at_hand = at_hand
        self._rest = rest
        self._request = request
        self._lease: tuple[Backend, BackendConnection, bool] | None = lease
        #: Of the wait for each piece.
        self._limit = limit
        self._record_failure = record_failure
        #: Called once the lease has ended; None if nothing else waits for that.
        self.on_release: Callable[[], None] | None = None

    @property
    def is_at_end(self) -> bool:
        """True if no piece follows, and no trailers."""
        return not self.at_hand and self._rest.done and not self._rest.trailers

    @property
    def trailers(self) -> list[tuple[str, str]]:
        """The trailer fields that may be forwarded; complete at the end of the body."""
        return passable(self._rest.trailers, FORBIDDEN_TRAILERS)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self.at_hand:
            data, self.at_hand = self.at_hand, b""
            return data
        data = self._next_piece()
        if not data:
            raise StopIteration
        return data

    def _next_piece(self) -> bytes:
        deadline, phase = self._request.deadline, self._request.phase
        self._request.phase = BODY  # in a handler that reads the body, too
        deadline.wait(self._limit)
        try:
            data = self._rest.next_piece()
            if self._rest.done:
                self.close()  # the backend is free while the client reads what is left
            return data
        except (OSError, BadMessage) as error:
            if self._lease is not None and (fault := self._lease[1].upload_error) is not None:
                raise fault from None  # the gateway has closed the connection because of the client
            self._request.reason = "backend_reset"
            self._record(error)
            raise BrokenBodyError(str(error) or type(error).__name__) from None
        finally:
            deadline.resume()
            self._request.phase = phase

    def _record(self, error: BaseException) -> None:
        """Report a failure of the backend to passive health, unless the client is still sending the request."""
        failure = failure_of(error)
        if failure is not None and self._lease is not None and self._request.body.done:
            self._record_failure(self._request, self._lease[0], failure)

    def close(self) -> None:
        """Return the connection to the pool if the body was read completely, else drop it."""
        lease, self._lease = self._lease, None
        if lease is not None:
            backend, connection, keep = lease
            backend.release(connection, self._rest, keep=keep)
            if self.on_release is not None:
                self.on_release()
