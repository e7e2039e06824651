"""What the action of a route is made of, if it is neither a forward, a redirect nor a fixed response."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gproxy.config.sections.route import RouteSettings
from gproxy.http.handler import Next
from gproxy.http.headers import Line
from gproxy.http.request import Request
from gproxy.runtime import Runtime


class RequestFields(Protocol):
    """The request as a backend behind the route would get it."""

    def lines(self, request: Request, authority: str, /) -> list[Line]:
        """Return the lines of the header fields; `authority` is the Host of a request without one."""

    def target(self, request: Request, /) -> str:
        """Return the request target."""


@dataclass(frozen=True)
class RouteParts:
    """The parts that the action of a route may use.

    timeout: seconds until the response's head. change: what rewrites the path; None if it stays as it is.
    forward: makes the forward to the route's upstreams; None without any. head: the fields that a backend would get.
    prefix: what the route strips from paths, as it stands in a URL. replay: the bytes of a body that each of the
    upstreams keeps for another attempt, in memory and on disk. is_multiprocess: whether there are several workers.
    """

    runtime: Runtime
    timeout: float
    change: Callable[[str], str] | None
    forward: Callable[[], Next] | None
    head: RequestFields
    prefix: str
    replay: tuple[int, int]
    is_multiprocess: bool


class MakeAction(Protocol):
    """A function that makes the action of a route."""

    def __call__(self, route: RouteSettings, parts: RouteParts, /) -> Next: ...
