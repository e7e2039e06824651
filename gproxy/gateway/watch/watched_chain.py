"""A chain whose steps note in the time account when they run themselves."""

from collections.abc import Callable, Sequence
from typing import Any

from gproxy.gateway.chain import compose, direct, step_of
from gproxy.gateway.error_responses import ErrorResponses
from gproxy.gateway.gateway import Gateway
from gproxy.gateway.watch.time_account import account_of, part_of
from gproxy.http.handler import Handler, Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.runtime.live_rules import run_step


class WatchedChains(Gateway):
    """A gateway whose chains are watched. A WatchingGateway passes watched requests to it, and opens its parts."""

    def _around(self, names: Sequence[str], action: Next, report: Sequence[str] = ()) -> Next:
        return watched_chain(self._steps.chain(names, report), action, self.errors)


def watched_chain(handlers: Sequence[tuple[str, Handler]], action: Next, errors: ErrorResponses) -> Next:
    """Return the chain of these handlers with their names, the first outermost; those without a name are not timed.

    Handlers see no difference.
    """
    step = compose([], action, errors)
    for name, handler in reversed(handlers):
        if not name:
            step = compose([handler], step, errors)
            continue
        step = step_of(handler, ruled(name, direct(handler)), step, errors)
        step = timed(part_of(name), traced(name, step))
    return step


def ruled(name: str, call: Callable[[Request, Next], Any]) -> Callable[[Request, Next], Any]:
    """Return the handler of this name as what the rules of operators run, if there are some for the request."""

    def run(request: Request, following: Next) -> Any:  # noqa: ANN401 a handler may return anything
        runners = account_of(request).runners
        return run_step(runners, name, call, request, following) if runners else call(request, following)

    return run


def ruled_action(action: Next) -> Next:
    """Return the action of a route, in the same way; its name is empty."""

    def act(request: Request, _: Next) -> Response:
        return action(request)

    def run(request: Request) -> Response:
        runners = account_of(request).runners
        if not runners:
            return action(request)
        response: Response = run_step(runners, "", act, request, action)
        return response

    run.is_guarded = getattr(action, "is_guarded", False)  # type: ignore[attr-defined]
    return run


def traced(name: str, step: Next) -> Next:
    """Return the step of the handler of this name, as a span of a sampled request."""

    def run(request: Request) -> Response:
        trace = request.trace
        if not trace.sampled:
            return step(request)
        with trace.span(name):
            return step(request)

    run.is_guarded = getattr(step, "is_guarded", False)  # type: ignore[attr-defined]
    return run


def timed(part: str, step: Next) -> Next:
    """Return the step as this part of the account: from its call to its end, except for the parts within it."""

    def run(request: Request) -> Response:
        account = account_of(request)
        before = account.switch(part)
        try:
            return step(request)
        finally:
            account.switch(before)

    run.is_guarded = getattr(step, "is_guarded", False)  # type: ignore[attr-defined]
    return run
