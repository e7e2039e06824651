"""The metadata of a protected resource (RFC 9728): where clients get tokens for it."""

import json
import re
from collections.abc import Iterable
from typing import Final

from gproxy.http.response import Response

_WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"
# No quotes and backslashes: the URL of the document is a quoted parameter of each challenge.
_parts = re.compile(r"(?P<origin>https?://[A-Za-z0-9.:\[\]-]+)(?P<path>(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*)").fullmatch
_is_local = re.compile(r"http://(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?").fullmatch


class ProtectedResource:
    """The metadata document of one resource. Raises ValueError for a resource without a usable URL."""

    def __init__(self, resource: str, issuers: Iterable[str], scopes: Iterable[str]) -> None:
        parts = _parts(resource)
        if parts is None:
            raise ValueError(f"{resource!r} is no URL of a resource; expected one such as https://api.example.com/mcp")
        if resource.startswith("http:") and not _is_local(parts["origin"]):
            raise ValueError(f"{resource!r} is not encrypted; expected https://")
        #: The path at which the document is.
        self.path = _WELL_KNOWN + parts["path"].removesuffix("/" if parts["path"] == "/" else "")
        #: The URL of the document.
        self.url = parts["origin"] + self.path
        document = {
            "resource": resource,
            "authorization_servers": list(issuers),
            "scopes_supported": list(scopes),
            "bearer_methods_supported": ["header"],
        }
        #: The document as JSON; members without a value are omitted (RFC 9728 section 3.2).
        self.document = json.dumps({name: value for name, value in document.items() if value}).encode()

    def response(self) -> Response:
        """Return the response with the document."""
        return Response(200, self.document, {"Content-Type": "application/json"})
