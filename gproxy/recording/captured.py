"""What the watched chain has captured of an exchange, and the record that is made of it."""

from collections.abc import Sequence
from typing import Protocol

from gproxy.http.body import Body
from gproxy.http.exchange import Exchange
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.recording.record import (
    Fields,
    RecordedAttempt,
    RecordedBody,
    RecordedExchange,
    RecordedRequest,
    RecordedResponse,
)


class Passed(Protocol):
    """The beginning of a body, and how many bytes have passed."""

    @property
    def kept(self) -> bytearray: ...
    @property
    def size(self) -> int: ...
    @property
    def is_whole(self) -> bool: ...


class _Trailing(Protocol):
    @property
    def trailers(self) -> Fields: ...


class CapturedAttempt(Protocol):
    """An attempt at a backend, as `gateway.watch.capture` has it."""

    @property
    def upstream(self) -> str: ...
    @property
    def backend(self) -> str: ...
    @property
    def began(self) -> float: ...
    @property
    def ended(self) -> float: ...
    @property
    def head(self) -> bytes: ...
    @property
    def sent_body(self) -> Body: ...
    @property
    def body(self) -> Passed | None: ...
    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Fields: ...
    @property
    def response_body(self) -> Passed | None: ...
    @property
    def response_trailers(self) -> _Trailing | None: ...
    @property
    def error(self) -> str: ...
    @property
    def is_shared(self) -> bool: ...


class Captured(Protocol):
    """An exchange, as `gateway.watch.capture` has it."""

    @property
    def request(self) -> Request: ...
    @property
    def started(self) -> float: ...
    @property
    def received_body(self) -> Body: ...
    @property
    def body(self) -> Passed | None: ...
    @property
    def attempts(self) -> Sequence[CapturedAttempt]: ...
    @property
    def omitted_attempts(self) -> int: ...
    @property
    def response(self) -> Response | None: ...
    @property
    def response_body(self) -> Passed | None: ...


def recorded(captured: Captured, exchange: Exchange, limit: int, place: tuple[int, int]) -> RecordedExchange:
    """Return the record of an exchange that has ended. `limit` is the most bytes of a body; 0: no bodies.

    `place` is the worker's number and generation.
    """
    request = captured.request
    received = request.received
    worker, generation = place
    return RecordedExchange(
        id=exchange.id,
        time=exchange.started,
        duration=exchange.duration,
        paused=exchange.paused,
        worker=worker,
        generation=generation,
        client=exchange.client,
        scheme=request.scheme,
        host=exchange.host,
        user=exchange.user,
        auth=exchange.auth,
        route=exchange.route,
        upstream=exchange.upstream,
        backend=exchange.backend,
        status=exchange.status,
        reason=exchange.reason,
        report=exchange.report,
        request=RecordedRequest(
            method=received.method,
            target=received.target,
            protocol=received.protocol,
            headers=received.headers.items(),
            body=_body(captured.body, limit),
            trailers=list(captured.received_body.trailers),
        ),
        attempts=[_attempt(one, captured, limit) for one in captured.attempts],
        omitted_attempts=captured.omitted_attempts,
        response=_response(captured, received.method, limit),
    )


def _response(captured: Captured, method: str, limit: int) -> RecordedResponse | None:
    response = captured.response
    if response is None:
        return None
    is_bodiless = method == "HEAD" or response.status in {101, 204, 304}
    body = None if is_bodiless else _body(captured.response_body, limit)
    return RecordedResponse(response.status, response.headers.items(), body, _trailers(response.raw_body))


def _attempt(attempt: CapturedAttempt, captured: Captured, limit: int) -> RecordedAttempt:
    return RecordedAttempt(
        upstream=attempt.upstream,
        backend=attempt.backend,
        started=attempt.began - captured.started,
        duration=attempt.ended - attempt.began,
        error=attempt.error,
        shared=attempt.is_shared,
        request=_sent(attempt, limit),
        response=_answered(attempt, limit),
    )


def _sent(attempt: CapturedAttempt, limit: int) -> RecordedRequest | None:
    if not attempt.head:
        return None
    line, *lines = attempt.head.decode("latin-1").split("\r\n")
    method, target, protocol = line.split(" ")
    parts = [one.partition(":") for one in lines if one]
    return RecordedRequest(
        method=method,
        target=target,
        protocol=protocol,
        headers=[(name, value.strip(" \t")) for name, _, value in parts],
        body=_body(attempt.body, limit),
        trailers=list(attempt.sent_body.trailers),
    )


def _answered(attempt: CapturedAttempt, limit: int) -> RecordedResponse | None:
    if not attempt.status:
        return None
    trailers = [] if attempt.response_trailers is None else list(attempt.response_trailers.trailers)
    return RecordedResponse(attempt.status, list(attempt.headers), _body(attempt.response_body, limit), trailers)


def _body(passed: Passed | None, limit: int) -> RecordedBody | None:
    if passed is None or not limit:
        return None
    data = bytes(passed.kept[:limit])
    return RecordedBody(data, passed.size, truncated=len(data) < passed.size or not passed.is_whole)


def _trailers(body: object) -> Fields:
    return list(getattr(body, "trailers", ()))
