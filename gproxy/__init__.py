"""gproxy: an API gateway that is extended with ordinary synchronous Python.

The journey of a request, in the order of the folders:

1. server/    accepts a connection, reads a request head, rejects an ambiguous one
2. gateway/   gives the request an id and a deadline, matches a route, runs its chain
3. handlers/  are the steps of a chain: each takes the request and the next step, and returns a response
4. upstream/  picks a backend, sends the request on a pooled connection, returns a streaming response
5. http/      defines the types that all of them share: headers, request, response, body

`docs/journey.md` describes this journey, `docs/changing.md` the place where each change belongs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from gproxy import compiled

if TYPE_CHECKING:
    from gproxy.http.errors import HTTPError
    from gproxy.http.handler import Handler, Next
    from gproxy.http.headers import Headers
    from gproxy.http.request import Request
    from gproxy.http.response import Response
    from gproxy.runtime.gather import gather

__all__ = ["API", "HTTPError", "Handler", "Headers", "Next", "Request", "Response", "gather"]
__version__ = "0.1.0"
#: The version of what handlers use, as docs/handlers.md describes it; it grows whenever that changes.
API: Final = 1

#: True if the compiled hot path runs; decided before any other module of the package is imported.
is_compiled = compiled.choose()

_HOMES = {
    "HTTPError": "http.errors", "Handler": "http.handler", "Next": "http.handler", "Headers": "http.headers",
    "Request": "http.request", "Response": "http.response", "gather": "runtime.gather",
}  # fmt: skip


def __getattr__(name: str) -> object:
    """Return a public name, imported at its first use: the arbiter uses none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gproxy' has no attribute {name!r}")
    public: object = getattr(import_module(f"gproxy.{_HOMES[name]}"), name)
    return public
