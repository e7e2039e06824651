"""Editing of header fields: first remove, then set."""

from dataclasses import dataclass, field

from gproxy.http.handler import Next
from gproxy.http.header_names import HOP_BY_HOP
from gproxy.http.headers import Headers
from gproxy.http.request import Request
from gproxy.http.response import Response

_RESERVED = HOP_BY_HOP | {"host"}


@dataclass
class EditHeaders:
    """Header editing: removes and sets headers of requests and of responses.

    Setting a header replaces all its lines. Framing and hop-by-hop headers cannot be edited.
    """

    request: dict[str, str] = field(
        default_factory=dict, metadata={"doc": "headers to set in the request: X-Env: test"}
    )
    response: dict[str, str] = field(
        default_factory=dict, metadata={"doc": "headers to set in the response: X-Frame-Options: DENY"}
    )
    remove_request: tuple[str, ...] = field(default=(), metadata={"doc": "headers to remove from the request"})
    remove_response: tuple[str, ...] = field(
        default=(), metadata={"doc": "headers to remove from the response: Server"}
    )

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError."""
        self._request = _lines("request", self.request)
        self._response = _lines("response", self.response)
        for option in ("remove_request", "remove_response"):
            _lines(option, dict.fromkeys(getattr(self, option), ""))

    def __call__(self, request: Request, next: Next) -> Response:
        _edit(request.headers, self.remove_request, self._request)
        response = next(request)
        _edit(response.headers, self.remove_response, self._response)
        return response


def _lines(option: str, fields: dict[str, str]) -> list[tuple[str, str, str]]:
    """Return (name, name in lower case, value) for Headers.put. Raises ValueError for an invalid or reserved header."""
    try:
        checked = Headers(fields)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None
    for name in checked.names():
        if name in _RESERVED:
            raise ValueError(f"{option}: {name} is set by the gateway for each connection; expected another header")
    return [(name, name.lower(), value) for name, value in checked.items()]


def _edit(headers: Headers, removed: tuple[str, ...], lines: list[tuple[str, str, str]]) -> None:
    for name in removed:
        headers.discard(name)
    for name, key, value in lines:
        headers.put(name, key, value)
