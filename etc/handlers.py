"""Examples of user-defined handlers: copy this file, and name its handlers in the settings.

    [handler:tenant]
    use = handlers:tenant

    [handler:maintenance]
    use = handlers:Maintenance
    flag = var/maintenance
    retry_after = 2m

    [gateway]
    handlers = maintenance, compress, health, rate_limit, jwt, tenant

A handler gets the request and the rest of the chain, `next`, and returns a response. It is ordinary blocking Python:
it may call a database, sleep or hit a breakpoint while other requests proceed. What a handler can do around `next`:

    reject          return a Response, or raise HTTPError(403, "why"), without calling next
    read the body   request.body.buffer(1_000_000)
    change a stream response.body = map(redact, response.pieces)
    clean up        response.on_close(function), called after the last byte is sent or the client has left

Any other exception becomes a 500 for the client, and a traceback with the request's id in the error log.
"""

from dataclasses import dataclass, field
from pathlib import Path

from gproxy import HTTPError, Next, Request, Response
from gproxy.config.types import Seconds

TENANTS = {"shop.example.com": "shop", "blog.example.com": "blog"}


def tenant(request: Request, next: Next) -> Response:
    """Send the tenant of the host to the backend, and the backend's address to the client. A function is a handler.

    An unknown host gets 404. Assigning a header replaces one of the same name that the client has sent.
    """
    name = TENANTS.get(request.host.partition(":")[0].lower())
    if name is None:
        raise HTTPError(404, "unknown host", reason="no_tenant")
    request.headers["X-Tenant"] = name
    response = next(request)
    if request.backend:  # None if a handler or an error made the response
        response.headers["X-Served-By"] = request.backend
    return response


@dataclass
class Maintenance:
    """Maintenance mode: answers every request with 503 while a file exists: `touch var/maintenance`.

    A dataclass is a handler with options: its fields, with their types, defaults and documentation.
    """

    flag: Path = field(default=Path("var/maintenance"), metadata={"doc": "file whose existence turns on 503"})
    retry_after: Seconds = field(default=Seconds(60.0), metadata={"doc": "time in Retry-After"})

    def __post_init__(self) -> None:
        """Check the options, without I/O: `gproxy check` builds every handler. The first word names the option."""
        if self.retry_after < 1:
            raise ValueError("retry_after: too short; expected at least 1s")

    def __call__(self, request: Request, next: Next) -> Response:
        if self.flag.exists():
            raise HTTPError(503, "under maintenance", {"Retry-After": f"{self.retry_after:.0f}"}, reason="maintenance")
        return next(request)
