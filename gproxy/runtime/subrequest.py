"""Requests of handlers' own to an upstream, which the gateway makes while it handles a client's request."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from gproxy.http.body import NO_BODY, Body
from gproxy.http.headers import Headers, HeadersLike
from gproxy.http.request import Received, Request
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.alarm import TimerWheel
from gproxy.runtime.client_watch import alarm_like

#: The timers of all subrequests.
_wheel: Final = TimerWheel()


@contextmanager
def subrequest(
    request: Request,
    method: str = "GET",
    target: str = "/",
    headers: HeadersLike = (),
    body: bytes = b"",
    *,
    timeout: float,
    option: str = "timeout of a handler",
) -> Iterator[Request]:
    """Yield a request for `runtime.ask`, on behalf of a client's request; at the end of the block its leases end.

    It has the id, the client and the host of that request, and these headers besides the gateway's own. The `timeout`
    in seconds bounds the whole block, and so does the deadline of the client's request, which progress of the call does
    not move. After it Expired is raised; `option` names the timeout in error texts. If the client leaves, ClientGone is
    raised.
    """
    alarm = alarm_like(request.deadline, _wheel)
    deadline = request.deadline.within(alarm, TimeLimit.DEADLINE.of(timeout, option))
    path, _, query = target.partition("?")
    fields = headers if isinstance(headers, Headers) else Headers(headers)
    came, marked = request.received, fields
    if came.never_indexed:
        marked = fields.copy()  # a handler may use its headers for the requests of all clients
        marked.never_index(came.never_indexed)
    received = Received(method, target, came.minor, marked, came.peer, came.tls, came.protocol, came.via)
    whole = Body(body) if body else NO_BODY
    asked = Request(received, fields, request.host, path, query, whole, deadline, request.client_stream)
    asked.is_subrequest = True
    asked.scheme, asked.route = request.scheme, request.route
    exchange, own = asked.exchange, request.exchange
    exchange.id, exchange.client, exchange.user = own.id, own.client, own.user
    try:
        yield asked
    finally:
        alarm.close()
        asked.end()
