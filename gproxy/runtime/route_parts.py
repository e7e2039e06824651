"""What the action of a route is made of, if it is neither a forward, a redirect nor a fixed response."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gproxy.config.sections.route import RouteSettings
from gproxy.http.handler import Next
from gproxy.runtime import Runtime


@dataclass(frozen=True)
class RouteParts:
    """The parts that the action of a route may use.

    timeout: seconds until the response's head. change: what rewrites the path; None if it stays as it is.
    forward: makes the forward to the route's upstreams; None without any.
    """

    runtime: Runtime
    timeout: float
    change: Callable[[str], str] | None
    forward: Callable[[], Next] | None


class MakeAction(Protocol):
    """A function that makes the action of a route."""

    def __call__(self, route: RouteSettings, parts: RouteParts, /) -> Next: ...
