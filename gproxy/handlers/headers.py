"""Editing of header fields: first remove, then set."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gproxy.config.types.template import PLACEHOLDERS, Template
from gproxy.http.handler import Next
from gproxy.http.header_names import HOP_BY_HOP
from gproxy.http.headers import Headers
from gproxy.http.placeholders import NO_GROUPS, header_value, path_groups
from gproxy.http.request import Request
from gproxy.http.response import Response

_RESERVED: Final = HOP_BY_HOP | {"host"}


@dataclass
class EditHeaders:
    """Header editing: removes and sets headers of requests and of responses.

    Setting a header replaces all its lines. Framing and hop-by-hop headers cannot be edited. Values may have
    placeholders such as `{client}`, and named groups of a route's pattern. A header whose value becomes empty is
    removed.
    """

    request: dict[str, str] = field(
        default_factory=dict, metadata={"doc": "headers to set in the request: X-Env: test, X-Client: {client}"}
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
        self._request = _Edits("request", self.remove_request, self.request)
        self._response = _Edits("response", self.remove_response, self.response)
        #: Option, header and name of each placeholder. Names that are not known are groups: the loader checks these.
        self.header_placeholders = [*self._request.placeholders, *self._response.placeholders]
        self._has_groups = any(name not in PLACEHOLDERS for _, _, name in self.header_placeholders)

    def __call__(self, request: Request, next: Next) -> Response:
        groups = path_groups(request) if self._has_groups else NO_GROUPS  # now: a later step may change the path
        self._request.apply(request.headers, request, groups)
        response = next(request)
        self._response.apply(response.headers, request, groups)
        return response


class _Edits:
    """The edits of requests or of responses. Raises ValueError for an invalid or reserved header."""

    def __init__(self, option: str, removed: tuple[str, ...], values: Mapping[str, str]) -> None:
        _check(f"remove_{option}", dict.fromkeys(removed, ""))
        checked = _check(option, values)
        templates = [(name, Template.parse(value, None)) for name, value in checked.items()]
        self._removed = removed
        #: Name, name in lower case, value.
        self._fixed = [(name, name.lower(), str(value)) for name, value in templates if not value.names]
        self._filled = [(name, name.lower(), value.parts) for name, value in templates if value.names]
        self.placeholders = [(option, header, name) for header, value in templates for name in value.names]

    def apply(self, headers: Headers, request: Request, groups: Mapping[str, str]) -> None:
        for name in self._removed:
            headers.discard(name)
        for name, key, value in self._fixed:
            headers.put(name, key, value)
        for name, key, parts in self._filled:
            if filled := header_value(parts, request, groups):
                headers.put(name, key, filled)
            else:
                headers.discard(key)


def _check(option: str, fields: Mapping[str, str]) -> Headers:
    try:
        checked = Headers(fields)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None
    for name in checked.names():
        if name in _RESERVED:
            raise ValueError(f"{option}: {name} is set by the gateway for each connection; expected another header")
    return checked
