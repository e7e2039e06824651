"""Handlers of your own: copy this file, and name them in the configuration.

    [handler:tenant]
    use = handlers:tenant

    [handler:maintenance]
    use = handlers:Maintenance
    flag = var/maintenance
    retry_after = 2m

    [gateway]
    handlers = maintenance, compress, health, rate_limit, jwt, tenant

A handler gets the request and the rest of the chain, `next`, and returns a response. It is ordinary blocking Python:
call a database, sleep, set a breakpoint; other requests go on meanwhile. What you can do around `next`:

    stop early      return a Response, or raise HTTPError(403, "why"), without calling next
    see the body    request.body.buffer(1_000_000)
    change a stream response.body = map(redact, response.pieces)
    clean up        response.on_close(function), called once the last byte is out or the client has left

Any other exception becomes a 500 for the client, and a traceback in the error log under the request's id.
"""

from dataclasses import dataclass, field
from pathlib import Path

from gproxy import HTTPError, Next, Request, Response
from gproxy.config.types import Seconds

TENANTS = {"shop.example.com": "shop", "blog.example.com": "blog"}


def tenant(request: Request, next: Next) -> Response:  # noqa: A002
    """A function is a handler. This one tells the backend whose request it is, and the client who answered.

    A host that we don't know is 404. Assigning a header replaces what the client may have sent under that name.
    """
    name = TENANTS.get(request.host.partition(":")[0].lower())
    if name is None:
        raise HTTPError(404, "nobody lives at this address", reason="no_tenant")
    request.headers["X-Tenant"] = name
    response = next(request)
    if request.backend:  # None if some handler, or an error, answered in the backend's place
        response.headers["X-Served-By"] = request.backend
    return response


@dataclass
class Maintenance:
    """A dataclass is a handler with options: its fields, with their types, defaults and documentation.

    This one answers 503 to everybody for as long as a file exists: `touch var/maintenance`.
    """

    flag: Path = field(default=Path("var/maintenance"), metadata={"doc": "while this file exists, nobody gets in"})
    retry_after: Seconds = field(default=Seconds(60.0), metadata={"doc": "when clients are told to come back"})

    def __post_init__(self) -> None:
        """Check the options here, without I/O: `gproxy check` builds every handler. The first word names the option."""
        if self.retry_after < 1:
            raise ValueError("retry_after: at least 1s is expected")

    def __call__(self, request: Request, next: Next) -> Response:  # noqa: A002
        if self.flag.exists():
            raise HTTPError(503, "we are back soon", {"Retry-After": f"{self.retry_after:.0f}"}, reason="maintenance")
        return next(request)
