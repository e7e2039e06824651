"""gproxy: an API gateway that is extended with ordinary synchronous Python.

A request's way, in the order of the folders:

1. server/    accepts a connection, reads a head, refuses what is ambiguous
2. gateway/   gives the request an id and a deadline, finds its route, runs the chain
3. handlers/  what stands in a chain: each takes the request and the next step, and returns a response
4. upstream/  picks a backend, sends the request through its pool, hands out a streaming response
5. http/      the words they all use: headers, request, response, body

`docs/journey.md` tells it in sixty lines.
"""

from gproxy import compiled

is_compiled = compiled.choose()  # before any other import of ours

from gproxy.http.errors import HTTPError  # noqa: E402
from gproxy.http.handler import Handler, Next  # noqa: E402
from gproxy.http.headers import Headers  # noqa: E402
from gproxy.http.request import Request  # noqa: E402
from gproxy.http.response import Response  # noqa: E402

__all__ = ["HTTPError", "Handler", "Headers", "Next", "Request", "Response"]
__version__ = "0.1.0"
