"""Cross-origin resource sharing: the access that browsers grant to pages of other origins (Fetch, section 3.2)."""

import re
from dataclasses import dataclass, field

from gproxy.config.types import Seconds
from gproxy.http.handler import Next
from gproxy.http.header_names import is_token
from gproxy.http.headers import Headers
from gproxy.http.request import Request
from gproxy.http.response import Response

_is_origin = re.compile(
    r"\*|null|[a-z][a-z0-9+.-]*://[a-z0-9._-]+(:[0-9]+)?|https?://\[[0-9a-f:.]+\](:[0-9]+)?"
).fullmatch


@dataclass
class Cors:
    """CORS: answers preflight requests itself, and allows the listed `origins` to read responses.

    The handler replaces the Access-Control-* headers of backends. A page of another origin gets none, so its browser
    withholds the response. The request itself is forwarded: CORS does not protect the backend.
    """

    origins: tuple[str, ...] = field(metadata={"doc": "origins of the pages to allow: scheme://host[:port]; *: any"})
    methods: tuple[str, ...] = field(
        default=("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"), metadata={"doc": "methods that these pages may use"}
    )
    headers: tuple[str, ...] = field(
        default=("Authorization", "Content-Type"), metadata={"doc": "request headers that these pages may send"}
    )
    expose: tuple[str, ...] = field(default=(), metadata={"doc": "response headers that these pages may read"})
    credentials: bool = field(default=False, metadata={"doc": "allow requests with cookies; not with origins = *"})
    max_age: Seconds = field(default=Seconds(600.0), metadata={"doc": "time for which a browser may cache a preflight"})

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError."""
        for origin in self.origins or ("",):
            if not _is_origin(origin):
                raise ValueError(f"origins: {origin!r} is not an origin; expected one such as https://app.example.com")
        self._any = "*" in self.origins
        if self._any and self.credentials:
            raise ValueError("credentials: any page could act for the user; expected origins other than *")
        for option in ("methods", "headers", "expose"):
            if not all(map(is_token, getattr(self, option))):
                raise ValueError(f"{option}: has an invalid name; expected a list of names")
        self._origins = frozenset(self.origins)
        self._preflight = Headers(
            {
                "Access-Control-Allow-Methods": ", ".join(self.methods),
                "Access-Control-Allow-Headers": ", ".join(self.headers),
                "Access-Control-Max-Age": str(int(self.max_age)),
            }
        )
        self._exposed = ", ".join(self.expose)

    def __call__(self, request: Request, next: Next) -> Response:
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
