"""Cross-origin resource sharing: the access that browsers grant to pages of other origins (Fetch, section 3.2)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from gproxy.config.types import Seconds
from gproxy.config.types.origin import Origin
from gproxy.http.handler import Next
from gproxy.http.header_names import is_token
from gproxy.http.headers import Headers
from gproxy.http.request import Request
from gproxy.http.response import Response


@dataclass
class Cors:
    """CORS: answers preflight requests itself, and allows the listed `origins` to read responses.

    The handler replaces the Access-Control-* headers of backends. A page of another origin gets none, so its browser
    withholds the response. The request itself is forwarded: CORS does not protect the backend.
    """

    #: True for a handler that answers requests by design, so that it has no `mode`.
    answers_requests: ClassVar[bool] = True

    origins: tuple[Origin, ...] = field(
        metadata={
            "doc": "origins of the pages to allow: scheme://host[:port]; https://*.example.com: the names below; "
            "~ REGEX: a pattern of whole origins; *: any"
        }
    )
    methods: tuple[str, ...] = field(
        default=("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"), metadata={"doc": "methods that these pages may use"}
    )
    headers: tuple[str, ...] = field(
        default=("Authorization", "Content-Type"), metadata={"doc": "request headers that these pages may send"}
    )
    expose: tuple[str, ...] = field(default=(), metadata={"doc": "response headers that these pages may read"})
    credentials: bool = field(
        default=False, metadata={"doc": "allow requests with cookies; not with origins that any site can have"}
    )
    max_age: Seconds = field(default=Seconds(600.0), metadata={"doc": "time for which a browser may cache a preflight"})

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError with a line for each problem."""
        if problems := [*self._problems()]:
            raise ValueError("\n".join(problems))
        self._any = any(origin.is_any for origin in self.origins)
        self._exact = frozenset(origin.text for origin in self.origins if origin.expression is None)
        self._patterns = [origin for origin in self.origins if origin.expression is not None]
        self._preflight = Headers(
            {
                "Access-Control-Allow-Methods": ", ".join(self.methods),
                "Access-Control-Allow-Headers": ", ".join(self.headers),
                "Access-Control-Max-Age": str(int(self.max_age)),
            }
        )
        self._exposed = ", ".join(self.expose)

    def _problems(self) -> Iterator[str]:
        if not self.origins:
            yield "origins: expected at least one"
        for option in ("methods", "headers", "expose"):
            names = getattr(self, option)
            if not all(map(is_token, names)):
                yield f"{option}: has an invalid name; expected a list of names"
            if self.credentials and "*" in names:
                yield f"{option}: browsers take * literally with credentials; expected names"
        if wrong := next((method for method in self.methods if method != method.upper()), ""):
            yield f"methods: methods are upper case; write {wrong.upper()}"
        for origin in self.origins if self.credentials else ():
            if origin.admits_anyone:
                yield f"credentials: any site could act for the user, as origins has {origin}"

    def __call__(self, request: Request, next: Next) -> Response:
        origin = request.headers.get("origin")
        is_admitted = self._admits(origin) if origin else False
        if origin and request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            response = Response(204, headers=self._preflight.copy() if is_admitted else ())
        else:
            response = next(request)
            for name in [name for name in response.headers.names() if name.startswith("access-control-")]:
                response.headers.discard(name)
            if self._exposed and is_admitted:
                response.headers["Access-Control-Expose-Headers"] = self._exposed
        self._name_origin(response.headers, origin if is_admitted else None)
        return response

    def _admits(self, origin: str) -> bool:
        return self._any or origin in self._exact or any(pattern.fits(origin) for pattern in self._patterns)

    def _name_origin(self, headers: Headers, origin: str | None) -> None:
        """Name the origin, if it is admitted. The response is another one for each origin, unless all are admitted."""
        if self._any:
            headers["Access-Control-Allow-Origin"] = "*"
            return
        vary = headers.get("vary")
        if vary is None or not {"*", "origin"} & {name.strip().lower() for name in vary.split(",")}:
            headers["Vary"] = f"{vary}, Origin" if vary else "Origin"
        if origin is not None:
            headers["Access-Control-Allow-Origin"] = origin
            if self.credentials:
                headers["Access-Control-Allow-Credentials"] = "true"
