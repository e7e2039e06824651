"""compose(handlers, last): done once at the start. Requests flow down the list, responses come back up."""

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

from gproxy.gateway.error_responses import respond
from gproxy.gateway.user_code import described
from gproxy.http.handler import Handler, Next
from gproxy.http.request import Request
from gproxy.http.response import Response


def compose(handlers: Sequence[Handler], last: Next) -> Next:
    """One callable for the whole chain, the first handler outermost.

    What a step raises becomes a response there and then, so every handler outside of it gets a response, and can
    compress it, count it or give it a header, whether it went well or not.
    """
    step = last if getattr(last, "is_guarded", False) else _guarded(last)
    for handler in reversed(handlers):
        step = _step(handler, _direct(handler), step)
    return step


def _direct(handler: Handler) -> Callable[[Request, Next], Any]:
    """PERF: an object's bound method, which calling the object would look for each time."""
    return handler.__call__ if isinstance(type(handler).__call__, FunctionType) else handler


def _step(handler: Handler, call: Callable[[Request, Next], Any], following: Next) -> Next:
    def step(request: Request) -> Response:
        try:
            response = call(request, following)
        except Exception as error:
            return respond(error, request)
        if isinstance(response, Response):
            return response
        return respond(TypeError(f"{described(handler)} returned {response!r}, which is no Response"), request)

    step.is_guarded = True  # type: ignore[attr-defined]
    return step


def _guarded(last: Next) -> Next:
    def step(request: Request) -> Response:
        try:
            return last(request)
        except Exception as error:
            return respond(error, request)

    step.is_guarded = True  # type: ignore[attr-defined]
    return step
