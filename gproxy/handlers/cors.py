"""Cross-origin requests: what a browser lets the pages of other origins do (Fetch standard, section 3.2)."""

import re
from dataclasses import dataclass, field

from gproxy.config.types import Seconds
from gproxy.http.handler import Next
from gproxy.http.headers import TOKEN, Headers
from gproxy.http.request import Request
from gproxy.http.response import Response

_is_origin = re.compile(
    r"\*|null|[a-z][a-z0-9+.-]*://[a-z0-9._-]+(:[0-9]+)?|https?://\[[0-9a-f:.]+\](:[0-9]+)?"
).fullmatch
_is_name = re.compile(f"{TOKEN}+").fullmatch


@dataclass
class Cors:
    """Answers preflights itself, and names the page's origin in responses if it is one of `origins`.

    What a backend says about cross-origin requests is replaced. Another origin gets no such header, and its browser
    keeps the response from the page; the request itself goes through, as this is no protection of the backend.
    """

    origins: tuple[str, ...] = field(metadata={"doc": "scheme://host[:port] of the pages that may; or * for any"})
    methods: tuple[str, ...] = field(
        default=("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"), metadata={"doc": "methods that they may use"}
    )
    headers: tuple[str, ...] = field(
        default=("Authorization", "Content-Type"), metadata={"doc": "request headers that they may send"}
    )
    expose: tuple[str, ...] = field(default=(), metadata={"doc": "response headers that they may read"})
    credentials: bool = field(default=False, metadata={"doc": "may they send cookies? not with origins = *"})
    max_age: Seconds = field(default=Seconds(600.0), metadata={"doc": "how long a browser remembers a preflight"})

    def __post_init__(self) -> None:
        """Raises ValueError."""
        for origin in self.origins or ("",):
            if not _is_origin(origin):
                raise ValueError(f"origins: {origin!r} is no origin; https://app.example.com is expected")
        self._any = "*" in self.origins
        if self._any and self.credentials:
            raise ValueError("credentials: any page could act for the user; name the origins instead of *")
        for option in ("methods", "headers", "expose"):
            if not all(map(_is_name, getattr(self, option))):
                raise ValueError(f"{option}: a list of names is expected")
        self._origins = frozenset(self.origins)
        self._preflight = Headers(
            {
                "Access-Control-Allow-Methods": ", ".join(self.methods),
                "Access-Control-Allow-Headers": ", ".join(self.headers),
                "Access-Control-Max-Age": str(int(self.max_age)),
            }
        )
        self._exposed = ", ".join(self.expose)

    def __call__(self, request: Request, next: Next) -> Response:  # noqa: A002
        origin = request.headers.get("origin")
        if origin and request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            response = Response(204, headers=self._preflight.copy() if self._admits(origin) else ())
        else:
            response = next(request)
            for name in [name for name in response.headers.names() if name.startswith("access-control-")]:
                response.headers.discard(name)
            if self._exposed and origin and self._admits(origin):
                response.headers["Access-Control-Expose-Headers"] = self._exposed
        self._name_origin(response.headers, origin)
        return response

    def _admits(self, origin: str) -> bool:
        return self._any or origin in self._origins

    def _name_origin(self, headers: Headers, origin: str | None) -> None:
        if self._any:
            headers["Access-Control-Allow-Origin"] = "*"
            return
        vary = headers.get("vary")
        if vary is None or not {"*", "origin"} & {name.strip().lower() for name in vary.split(",")}:
            headers["Vary"] = f"{vary}, Origin" if vary else "Origin"
        if origin in self._origins and origin is not None:
            headers["Access-Control-Allow-Origin"] = origin
            if self.credentials:
                headers["Access-Control-Allow-Credentials"] = "true"
