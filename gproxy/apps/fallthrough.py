"""The fall-through from an app to the upstream that answered before: URL by URL, the app takes over."""

from collections.abc import Callable

from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.runtime import Runtime
from gproxy.upstream.forwarder.replay import ReplayBuffer


class RecordedReads:
    """The reads of an app from the body, recorded so that the body can be forwarded after them.

    `memory` and `spool` bound the recording, in bytes. A longer body is not recorded.
    """

    def __init__(self, read: Callable[[Request], bytes], runtime: Runtime, memory: int, spool: int) -> None:
        self._read = read
        self._runtime = runtime
        self._memory, self._spool = memory, spool

    def __call__(self, request: Request) -> bytes:
        """Return the next bytes of the body; b"" at the end. Raise HTTPError."""
        body = request.body
        is_unread = body.received == body.buffered and not body.replayable
        if is_unread and (body.length or 0) <= self._memory + self._spool:
            body.record(ReplayBuffer(request, self._runtime, self._memory, self._spool))
        return self._read(request)


class Fallthrough:
    """An action that forwards a request if the app's response has a certain status.

    If the body was read and is too long to be read again, the app's response is final.
    """

    def __init__(self, app: Next, forward: Next, *, status: int, count: Callable[[], None]) -> None:
        self._app = app
        self._forward = forward
        self._status = status
        self._count = count

    def __call__(self, request: Request) -> Response:
        """Return the app's response, or that of the upstream in its place."""
        response = self._app(request)
        if response.status != self._status or not request.body.can_begin_again:
            return response
        response.close()
        self._count()
        request.backend = None
        return self._forward(request)
