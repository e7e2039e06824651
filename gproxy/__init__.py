"""gproxy: an API gateway that is extended with ordinary synchronous Python.

A request's way, in the order of the folders:

1. server/    accepts a connection, reads a head, refuses what is ambiguous
2. gateway/   gives the request an id and a deadline, finds its route, runs the chain
3. handlers/  what stands in a chain: each takes the request and the next step, and returns a response
4. upstream/  picks a backend, sends the request through its pool, hands out a streaming response
5. http/      the words they all use: headers, request, response, body

`docs/journey.md` tells it, `docs/changing.md` says where a change belongs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gproxy import compiled

if TYPE_CHECKING:
    from gproxy.http.errors import HTTPError
    from gproxy.http.handler import Handler, Next
    from gproxy.http.headers import Headers
    from gproxy.http.request import Request
    from gproxy.http.response import Response

__all__ = ["HTTPError", "Handler", "Headers", "Next", "Request", "Response"]
__version__ = "0.1.0"

#: Does the compiled hot path run? Decided before any other module of ours is imported.
is_compiled = compiled.choose()

_HOMES = {
    "HTTPError": "errors", "Handler": "handler", "Next": "handler", "Headers": "headers", "Request": "request",
    "Response": "response",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """The public names, once somebody asks: the arbiter never does."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gproxy' has no attribute {name!r}")
    return getattr(import_module(f"gproxy.http.{_HOMES[name]}"), name)
