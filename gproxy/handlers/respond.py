"""A fixed response without a backend."""

from dataclasses import dataclass, field
from typing import ClassVar

from gproxy.http.handler import Next
from gproxy.http.headers import Headers
from gproxy.http.request import Request
from gproxy.http.response import Response


@dataclass
class Respond:
    """Fixed response: answers every request with the same status, body and headers, without calling the next step."""

    #: True for a handler that answers requests by design, so that it has no `mode`.
    answers_requests: ClassVar[bool] = True

    status: int = field(default=200, metadata={"doc": "status, 200 to 599"})
    body: str = field(default="", metadata={"doc": "text of the body"})
    content_type: str = field(default="text/plain; charset=utf-8", metadata={"doc": "media type of the body"})
    headers: dict[str, str] = field(default_factory=dict, metadata={"doc": "further headers: Location: /new"})

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError."""
        if not 200 <= self.status <= 599:
            raise ValueError(f"status: expected 200 to 599, not {self.status}")
        try:
            self._headers = Headers(self.headers)
        except ValueError as error:
            raise ValueError(f"headers: {error}") from None
        self._body = self.body.encode()
        if self._body:
            if self.status in {204, 205, 304}:
                raise ValueError(f"body: a {self.status} response has no body (RFC 9110 section 15); expected none")
            self._headers.setdefault("Content-Type", self.content_type)

    def __call__(self, request: Request, next: Next) -> Response:  # noqa: ARG002
        return Response(self.status, self._body, self._headers.copy())
