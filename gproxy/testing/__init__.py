"""Tools for tests of handlers, without sockets, servers or mocks.

`with raises(HTTPError): Maintenance(flag=there)(request("GET", "/"), answer(200))` is a whole test.
"""

from collections.abc import Iterable

from gproxy.config.types.units import plural
from gproxy.http.headers import Headers, HeadersLike
from gproxy.http.request import Request, request
from gproxy.http.response import Response

__all__ = ["Answer", "Clock", "answer", "request"]


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
    """Return a `next` for the handler under test."""
    return Answer(status, body, headers)


class Clock:
    """A clock that moves only when it is advanced; in seconds, 1,000,000 at the start by default."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Advance the clock. Raises ValueError for a step back, which no monotonic clock makes."""
        if seconds < 0:
            raise ValueError(f"a monotonic clock cannot go back by {-seconds} s; expected 0 or more")
        self.now += seconds
