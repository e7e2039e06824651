"""The calls of gRPC clients: the deadline from grpc-timeout, and errors of the gateway as gRPC statuses.

A call passes routes, handlers and limits as any request. Only what a gRPC client would not understand is changed, when
the response leaves: handlers, metrics and the access log see the status of HTTP.
"""

import json
from collections.abc import Sequence
from typing import Final

from gproxy.http.exchange import Exchange
from gproxy.http.grpc import (
    MESSAGE_FIELD,
    STATUS_FIELD,
    TIMEOUT_FIELD,
    CallDeadline,
    is_grpc,
    parse_timeout,
    status_in,
    status_of,
    written_message,
)
from gproxy.http.headers import Headers
from gproxy.http.request import Request
from gproxy.http.response import PHRASES, Response
from gproxy.http.time_limit import TimeLimit
from gproxy.observe.access_fields import NotedFields
from gproxy.runtime.alarm import TimerWheel
from gproxy.runtime.client_watch import alarm_like

#: The field of access lines.
_FIELD: Final = "grpc"
#: Fields about the body of an error, which a gRPC client does not get.
_OF_THE_BODY: Final = ("content-length", "content-encoding", "content-language", "cache-control", "vary")
#: The alarms of all calls with a grpc-timeout.
_wheel: Final = TimerWheel()


class GRPCAdapter:
    """The adapter of a listener; `notes` are those of its gateway."""

    def __init__(self, notes: NotedFields | None) -> None:
        #: The place of the status among what is noted for access lines; -1 if no line has it.
        self._place = -1 if notes is None else notes.place(_FIELD)

    def begin(self, request: Request) -> "GRPCCall | None":
        """Return the call that the request is, and begin its time; None if it is none of gRPC.

        To be called in the greenlet that answers the request, before anything else has its deadline.
        """
        call = self.call(request.headers, request.exchange)
        if call is not None:
            timeout = parse_timeout(request.headers.lookup(TIMEOUT_FIELD) or "")
            if timeout is not None:
                _limit(request, timeout)
        return call

    def call(self, headers: Headers, exchange: Exchange) -> "GRPCCall | None":
        """Return the call with these fields, also one that is rejected before a request exists."""
        kind = headers.lookup("content-type")
        return GRPCCall(exchange, kind, self._place) if kind is not None and is_grpc(headers) else None


def _limit(request: Request, seconds: float) -> None:
    """Bound the whole call. The limit has an alarm of its own: waits for the client must not move this end."""
    deadline = CallDeadline(request.deadline, TimeLimit.CALL.of(seconds, "grpc-timeout of the client"))
    if deadline.timer is not None:
        alarm = alarm_like(deadline, _wheel)
        request.at_end(alarm.close)
        deadline.begin_alarm(alarm)
    request.deadline = deadline


class GRPCCall:
    """A call of a client, until its response leaves."""

    __slots__ = ("_exchange", "_place", "_type")

    def __init__(self, exchange: Exchange, kind: str, place: int) -> None:
        self._exchange = exchange
        self._type = kind
        self._place = place

    def outgoing(self, response: Response) -> None:
        """Turn an error response without a gRPC status into one that is only a head with a status: trailers-only.

        Note the status for the access line; that of trailers once they have passed.
        """
        if response.status >= 400 and not is_grpc(response.headers):
            self._replace(response)
        if self._place < 0:
            return
        status = response.headers.lookup(STATUS_FIELD)
        if status is not None:
            self._note(status)
        elif not isinstance(body := response.raw_body, bytes):
            response.on_close(lambda: self._note_trailers(getattr(body, "trailers", ())))

    def _replace(self, response: Response) -> None:
        message = _message(response)
        headers = response.headers
        for name in _OF_THE_BODY:
            headers.discard(name)
        headers.put("Content-Type", "content-type", self._type)
        headers.put("Grpc-Status", STATUS_FIELD, status_of(response.status))
        if message:
            headers.put("Grpc-Message", MESSAGE_FIELD, written_message(message))
        response.restore(200, "", headers, b"")

    def _note(self, status: str) -> None:
        noted = self._exchange.noted
        if noted:
            noted[self._place] = status[:2] if status.isascii() and status.isdecimal() else "?"

    def _note_trailers(self, trailers: Sequence[tuple[str, str]]) -> None:
        status = status_in(trailers)
        if status is not None:
            self._note(status)


def _message(response: Response) -> str:
    """Return the message for the status of an error: the detail of a problem report, else the phrase of HTTP."""
    phrase = PHRASES.get(response.status, "")
    body = response.raw_body
    if not isinstance(body, bytes) or response.headers.lookup("content-type") != "application/problem+json":
        return phrase
    try:
        problem = json.loads(body)
    except ValueError:
        return phrase
    detail = problem.get("detail") if isinstance(problem, dict) else None
    return detail if isinstance(detail, str) else phrase
