"""The step of handlers that answer paths of their own, as `health` and `metrics` do."""

from collections.abc import Callable

from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response


class OwnPathsStep:
    """The step that answers requests for these paths, and lets all others pass."""

    def __init__(self, paths: frozenset[str], answer: Callable[[Request], Response]) -> None:
        self._paths = paths
        self._answer = answer

    def __call__(self, request: Request, next: Next) -> Response:
        return self._answer(request) if request.path in self._paths else next(request)
