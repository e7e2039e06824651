"""Calls to an upstream by its name: what `runtime.upstream(name)` returns."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Final

from gproxy.http.deadline import Deadline
from gproxy.http.handler import Next
from gproxy.http.headers import Headers, HeadersLike
from gproxy.http.request import Received, Request
from gproxy.http.request_id import RequestIDs
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.http.trust import UNIX_PEER
from gproxy.runtime.expired import Expired
from gproxy.runtime.lent_account import lent_account
from gproxy.runtime.served import is_in_own_greenlet, served_request
from gproxy.runtime.subrequest import subrequest

#: The fields that make a call part of the trace of its request.
_TRACE: Final = ("traceparent", "tracestate")
#: The remaining seconds at which a deadline counts as over.
_SLACK: Final = 0.01
#: The limits that end the request itself, and not only a call.
_NOT_OF_THE_CALL: Final = (TimeLimit.DRAINING, TimeLimit.CUT, TimeLimit.HANDLER)
_ids: Final = RequestIDs()
#: The calls with `stream` whose responses are open, by the request that they serve, the oldest first.
_open: Final[dict[Request, dict[ExitStack, None]]] = {}


class UpstreamCalls:
    """The calls to the upstream of this name, which are found in a table when they are made.

    `timeout` bounds a call that serves no request, in seconds. `deadline` makes the deadline of such a call.
    """

    def __init__(
        self, name: str, table: Mapping[str, Next], timeout: float, deadline: Callable[[], Deadline] = Deadline
    ) -> None:
        self.name = name
        self._table = table
        self._timeout = timeout
        self._deadline = deadline

    def __repr__(self) -> str:
        return f"<UpstreamCalls {self.name}>"

    def request(
        self,
        method: str = "GET",
        target: str = "/",
        headers: HeadersLike = (),
        body: bytes = b"",
        timeout: float | None = None,
        *,
        stream: bool = False,
    ) -> Response:
        """Send a request to the upstream, and return the response with its whole body.

        A failure is a response too: 502, 503 or 504. While a client's request is served, the call has its id, its
        trace, and its deadline, and ends with its client; `timeout` in seconds bounds the call further. With `stream`
        the body is read as it arrives: `timeout` bounds the head only, and the lease ends with the body, when the
        response is closed, or with the client's request. In a greenlet of `gather` a body is always read whole. Raises
        Expired at the deadline of the request, and ClientGone if its client leaves.
        """
        served = served_request()
        base = self._unserved() if served is None else served
        if timeout is None:
            timeout = self._timeout if served is None else math.inf
        fields = Headers(Headers(headers).items())
        streams = stream and is_in_own_greenlet(base)
        with ExitStack() as stack:
            if served is None and base.deadline.timer is not None:
                stack.callback(base.deadline.timer.close)
            option = f"timeout of a call to upstream {self.name}"
            block = subrequest(base, method, target, fields, body, timeout=timeout, option=option)
            asked = stack.enter_context(block)
            _join(asked, base)
            response = self._table[self.name](asked)
            if served is not None and asked.reason and served.deadline.remaining() < _SLACK:
                response.close()
                raise Expired(TimeLimit.DEADLINE)  # the call had less time than its own limit
            if not streams or isinstance(response.raw_body, bytes):
                return self._whole(response, asked, served)
            asked.deadline.set(math.inf)
            _note_reason(asked, served)
            kept = stack.pop_all()
            if served is not None:
                _keep_open(served, kept, response)
            response.on_close(kept.close)
            return response

    def _unserved(self) -> Request:
        """Return the request on whose behalf a job or a look-up asks: of a client on this machine, without a host."""
        deadline = self._deadline()
        request = Request(Received("GET", "/", 1, Headers(), UNIX_PEER), Headers(), "", "/", "", deadline=deadline)
        request.id = _ids.new(time.time())
        request.exchange.account = lent_account()
        return request

    def _whole(self, response: Response, asked: Request, served: Request | None) -> Response:
        """Return the response with its whole body, or a failure in its place."""
        try:
            response.read()
        except Expired as expired:
            if _ends_the_request(expired, served):
                raise
            asked.reason = "backend_timeout"
            response = _failure(504, f"upstream {self.name} has not sent its response in time")
        except Exception:  # noqa: BLE001 a backend may break off in any way
            response = _failure(502, f"upstream {self.name} has broken off its response")
        _note_reason(asked, served)
        return response


def _join(asked: Request, base: Request) -> None:
    """Make the call a part of its request: of its trace, and of its time account."""
    account = base.exchange.account
    if not is_in_own_greenlet(base):
        asked.client_stream = None  # the greenlet that waits for this one observes the client
        account = None if account is None else account.detached()
    asked.exchange.account = account
    asked.trace = base.trace
    for name in _TRACE:
        value = base.headers.lookup(name)
        if value is not None:
            asked.headers.setdefault(name, value)


def _keep_open(served: Request, stack: ExitStack, response: Response) -> None:
    """Close the stack at the end of the request, unless the response was closed before."""
    calls = _open.get(served)
    if calls is None:
        calls = _open[served] = {}
        served.at_end(partial(_close_all, served))
    calls[stack] = None
    response.on_close(partial(calls.pop, stack, None))


def _close_all(served: Request) -> None:
    calls = _open.pop(served)
    while calls:
        calls.popitem()[0].close()


def _ends_the_request(expired: Expired, served: Request | None) -> bool:
    """Return whether the limit is one of the client's request, and not of the call."""
    if served is None:
        return False
    return expired.limit in _NOT_OF_THE_CALL or served.deadline.remaining() < _SLACK


def _note_reason(asked: Request, served: Request | None) -> None:
    """Give the request the reason of a call that has failed: its response often follows."""
    if served is not None and asked.reason:
        served.reason = asked.reason


def _failure(status: int, detail: str) -> Response:
    return Response(status, detail.encode(), {"Content-Type": "text/plain; charset=utf-8"})
