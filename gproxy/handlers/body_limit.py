"""How much a client may send."""

from dataclasses import dataclass, field

from gproxy.config.types import Bytes
from gproxy.http.body import NO_BODY
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response


@dataclass
class BodyLimit:
    """Refuses longer bodies: at once if the client says how long, else when it has sent more.

    A stricter limit that is there already stays. Raises HTTPError 413.
    """

    limit: Bytes = field(metadata={"doc": "the most a request's body may have: 10MB, 512KiB"})

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if self.limit < 1:
            raise ValueError("limit: at least 1 byte is expected")

    def __call__(self, request: Request, next: Next) -> Response:  # noqa: A002
        body = request.body
        if max(body.length or 0, body.received) > self.limit:  # chunks may have come together with the head
            raise HTTPError(413, f"a body may have {self.limit} bytes here")
        if body is not NO_BODY and (body.limit == 0 or body.limit > self.limit):
            body.limit = self.limit
        return next(request)
