"""The beginning of a request body, collected before a backend is asked.

A synchronous backend can do nothing else while it waits for a slow client. So the gateway waits in its place, before
the request takes a connection, a slot of `max_requests` or the trial of a circuit breaker.
"""

from typing import Final

from gproxy.http.body import Body
from gproxy.http.buffers import Share
from gproxy.http.grpc import is_grpc
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.runtime import Runtime
from gproxy.upstream.forwarder.replay import ReplayBuffer

#: The part of `buffer_request` that is kept in memory, in bytes; the rest is kept on disk.
IN_MEMORY: Final = 64 * 1024


class RequestBuffer:
    """A step before `following` that collects `size` bytes of each request body, and up to `spool` bytes more on disk.

    A body that is longer than both is passed on once so much of it has arrived; if its length is known, nothing of it
    is written to disk.
    """

    def __init__(self, following: Next, runtime: Runtime, *, size: int, spool: int) -> None:
        self._following = following
        self._runtime = runtime
        self._in_memory = min(size, IN_MEMORY)
        self._longest = size + spool

    def __call__(self, request: Request) -> Response:
        """Return the response of `following`, which is called once the body is collected.

        Raise HTTPError for a fault of the client, Expired if the client is too slow, and ClientGone if it has left.
        """
        body = request.body
        if not body.done and _may_wait(request, body):
            self._collect(request, body)
        return self._following(request)

    def _collect(self, request: Request, body: Body) -> None:
        share = Share(self._runtime.buffers)
        request.at_end(share.release)
        is_complete = body.collect_ahead(self._in_memory, share.add)
        deadline = request.deadline
        deadline.renew()  # the time of the backends begins now
        collected = body.buffered
        if is_complete or self._longest <= collected or self._longest < (body.length or 0):
            return
        body.record(ReplayBuffer(request, self._runtime, collected, self._longest - collected))
        while body.record_ahead():
            deadline.renew()
        body.rewind()


def _may_wait(request: Request, body: Body) -> bool:
    """Return whether the gateway may wait for the body.

    The backend decides about `Expect: 100-continue` (RFC 9110 section 10.1.1), and a handler about a body that it has
    begun to read. gRPC may be a conversation. The client's time limits reach no other greenlet than its own.
    """
    client = request.client_stream
    if client is None or not client.in_own_greenlet() or request.upgrade is not None:
        return False
    if body.on_first_read is not None or body.received != body.buffered:
        return False
    return not is_grpc(request.headers)
