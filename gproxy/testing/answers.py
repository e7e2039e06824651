"""Answers of backends and of a `next`, as tests write them."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from gproxy.config.types.units import plural
from gproxy.http.headers import Headers, HeadersLike
from gproxy.http.request import Request
from gproxy.http.response import Response


class Answer:
    """A `next` that returns a new response each time, and records the `requests` that it gets."""

    def __init__(self, status: int, body: bytes | Iterable[bytes], headers: HeadersLike) -> None:
        self._status = status
        self._body = body
        self._headers = Headers(headers)
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(self._status, self._body, self._headers.copy())

    def __repr__(self) -> str:
        return f"<Answer {self._status}, {plural(len(self.requests), 'request')}>"


def answer(status: int = 200, body: bytes | Iterable[bytes] = b"", headers: HeadersLike = ()) -> Answer:
    """Return a `next` for the handler under test, or an answer of a backend of the test kit."""
    return Answer(status, body, headers)


@dataclass(frozen=True)
class Slow:
    """An answer that begins `seconds` after the request, by the clock of the test kit; `then` is the answer."""

    seconds: float
    then: "KitAnswer"


@dataclass(frozen=True)
class Reset:
    """The end of the connection, without a response."""


@dataclass(frozen=True)
class Refused:
    """The refusal of the connection, before a request."""


#: What a backend of the test kit does with a request; a function returns the response, or another answer.
KitAnswer: TypeAlias = Callable[[Request], "Response | KitAnswer"] | Slow | Reset | Refused


def slow(seconds: float, then: KitAnswer | None = None) -> Slow:
    """Return an answer of a backend that comes so many seconds later: `then`, by default an empty 200.

    Raises ValueError for a negative time; with `math.inf` the backend is silent.
    """
    if not 0 <= seconds <= math.inf:
        raise ValueError(f"slow: an answer cannot come {seconds} s after its request; expected 0 or more")
    return Slow(seconds, then or answer())


def reset() -> Reset:
    """Return the answer of a backend that resets the connection once it has the request."""
    return Reset()


def refused() -> Refused:
    """Return the answer of a backend that refuses connections."""
    return Refused()
