"""Rules that an operator adds while a worker serves: they let requests take the watched chain, and run its steps.

The table is `Runtime.live_rules`. It is empty in most workers at most times.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gproxy.http.handler import Next
from gproxy.http.request import Request


class StepRunner(Protocol):
    """A runner of the steps of one request's watched chain: it calls each step, and returns what the step returns."""

    def run(self, name: str, step: Callable[[Request, Next], Any], request: Request, following: Next, /) -> Any:  # noqa: ANN401 a handler may return anything
        """Run the handler of this name, or the action of the route, whose name is empty."""

    def end(self) -> None:
        """End with the watched chain, whatever came of it."""


class LiveRule(Protocol):
    """A rule: whether it wants a request watched, and what then runs the steps; None for nothing."""

    def wants(self, request: Request, /) -> bool: ...
    def begin(self, request: Request, /) -> StepRunner | None: ...


def run_step(
    runners: Sequence[StepRunner], name: str, step: Callable[[Request, Next], Any], request: Request, following: Next
) -> Any:  # noqa: ANN401 a handler may return anything
    """Run the step by the first runner, which calls it by the second one, and so on."""
    if not runners:
        return step(request, following)
    first, *others = runners

    def rest(request: Request, following: Next) -> Any:  # noqa: ANN401 as above
        return run_step(others, name, step, request, following)

    return first.run(name, rest if others else step, request, following)
