"""An answer that needs no backend."""

from dataclasses import dataclass, field

from gproxy.http.handler import Next
from gproxy.http.headers import Headers
from gproxy.http.request import Request
from gproxy.http.response import Response


@dataclass
class Respond:
    """Answers every request with the same status, body and headers; what stands behind it is not asked."""

    status: int = field(default=200, metadata={"doc": "200 to 599"})
    body: str = field(default="", metadata={"doc": "the text"})
    content_type: str = field(default="text/plain; charset=utf-8", metadata={"doc": "its media type"})
    headers: dict[str, str] = field(default_factory=dict, metadata={"doc": "further ones: Location: /new"})

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if not 200 <= self.status <= 599:
            raise ValueError(f"status: 200 to 599 is expected, not {self.status}")
        try:
            self._headers = Headers(self.headers)
        except ValueError as error:
            raise ValueError(f"headers: {error}") from None
        self._body = self.body.encode()
        if self._body:
            if self.status in {204, 205, 304}:
                raise ValueError(f"body: a {self.status} has none (RFC 9110 section 15)")
            self._headers.setdefault("Content-Type", self.content_type)

    def __call__(self, request: Request, next: Next) -> Response:  # noqa: A002, ARG002
        return Response(self.status, self._body, self._headers.copy())
