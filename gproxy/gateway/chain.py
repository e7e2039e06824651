"""Composition of a chain, once at the start: requests flow down the list of handlers, responses flow back up."""

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

from gproxy.gateway.error_responses import PLAIN, ErrorResponses
from gproxy.gateway.user_code import described
from gproxy.http.handler import Handler, Next
from gproxy.http.request import Request
from gproxy.http.response import Response


def compose(handlers: Sequence[Handler], action: Next, errors: ErrorResponses = PLAIN) -> Next:
    """Return one callable for the whole chain, the first handler outermost.

    An exception becomes a response at the step that raises it. So every outer handler gets a response for an error too,
    and can compress it, count it or set a header.
    """
    step = action if getattr(action, "is_guarded", False) else _guarded(action, errors)
    for handler in reversed(handlers):
        step = step_of(handler, direct(handler), step, errors)
    return step


def direct(handler: Handler) -> Callable[[Request, Next], Any]:
    """Return what to call. PERF: an object's bound method or step, which calling the object would look up each time."""
    return handler.__call__ if isinstance(type(handler).__call__, FunctionType | property) else handler


def step_of(handler: Handler, call: Callable[[Request, Next], Any], next_step: Next, errors: ErrorResponses) -> Next:
    """Return the step of a handler, which `call` calls. Its exception becomes a response."""

    def step(request: Request) -> Response:
        try:
            response = call(request, next_step)
        except Exception as error:  # noqa: BLE001 a handler may raise anything
            return errors.failed(handler, error, request)
        if isinstance(response, Response):
            return response
        wrong = TypeError(f"{described(handler)} returned {response!r}; expected a Response")
        return errors.failed(handler, wrong, request)

    step.is_guarded = True  # type: ignore[attr-defined]
    return step


def _guarded(action: Next, errors: ErrorResponses) -> Next:
    def step(request: Request) -> Response:
        try:
            return action(request)
        except Exception as error:  # noqa: BLE001 a handler may raise anything
            return errors.respond(error, request)

    step.is_guarded = True  # type: ignore[attr-defined]
    return step
