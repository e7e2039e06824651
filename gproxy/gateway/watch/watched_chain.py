"""A chain whose steps note in the time account when they run themselves."""

from collections.abc import Sequence

from gproxy.gateway.chain import compose
from gproxy.gateway.error_responses import ErrorResponses
from gproxy.gateway.gateway import Gateway
from gproxy.gateway.watch.time_account import account_of, part_of
from gproxy.http.handler import Handler, Next
from gproxy.http.request import Request
from gproxy.http.response import Response


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
        step = compose([handler], step, errors)
        step = timed(part_of(name), traced(name, step)) if name else step
    return step


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
