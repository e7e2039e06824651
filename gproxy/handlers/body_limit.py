"""A limit of the request body."""

from dataclasses import dataclass, field
from typing import ClassVar

from gproxy.config.types import Bytes
from gproxy.http.body import NO_BODY
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response


@dataclass
class BodyLimit:
    """A limit of the request body: rejects a longer one by its Content-Length, or as soon as it exceeds the limit.

    A stricter limit set before stays in force. Raises HTTPError 413.
    """

    #: True for a handler that may reject a request after it has called `next`, so that it cannot only report.
    rejects_later: ClassVar[bool] = True

    limit: Bytes = field(metadata={"doc": "maximum size of a request body: 10MB, 512KiB"})

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError."""
        if self.limit < 1:
            raise ValueError("limit: too small; expected at least 1 byte")

    def __call__(self, request: Request, next: Next) -> Response:
        body = request.body
        if max(body.length or 0, body.received) > self.limit:  # chunks may have arrived together with the head
            raise HTTPError(413, f"request body exceeds the limit of {self.limit} bytes")
        if body is not NO_BODY and (body.limit == 0 or body.limit > self.limit):
            body.limit = self.limit
        return next(request)
