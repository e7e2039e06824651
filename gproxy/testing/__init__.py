"""For tests of handlers, yours and ours: no socket, no server, no mock.

`with raises(HTTPError): Maintenance(flag=there)(request("GET", "/"), answer(200))` is a whole test.
"""

from collections.abc import Iterable

from gproxy.http.headers import Headers, HeadersLike
from gproxy.http.request import Request, request
from gproxy.http.response import Response

__all__ = ["Answer", "Clock", "answer", "request"]


class Answer:
    """A `next` that gives a fresh response each time, and remembers the `requests` that reached it."""

    def __init__(self, status: int, body: bytes | Iterable[bytes], headers: HeadersLike) -> None:
        self._status = status
        self._body = body
        self._headers = Headers(headers)
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(self._status, self._body, self._headers.copy())

    def __repr__(self) -> str:
        return f"<Answer {self._status}, asked {len(self.requests)} times>"


def answer(status: int = 200, body: bytes | Iterable[bytes] = b"", headers: HeadersLike = ()) -> Answer:
    """What stands behind the handler under test."""
    return Answer(status, body, headers)


class Clock:
    """A clock that stands still until it is advanced; seconds, from 1,000,000 on by default."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let so much time pass. Raises ValueError for a step back, which no monotonic clock makes."""
        if seconds < 0:
            raise ValueError(f"time does not go back, not even {-seconds} s")
        self.now += seconds
