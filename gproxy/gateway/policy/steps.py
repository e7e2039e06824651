"""The handlers as chains call them: those with chain options within a step of this folder, all others as they are."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from gproxy.config.sections.chain import ChainOptions
from gproxy.gateway.error_responses import ErrorResponses
from gproxy.gateway.policy.failure import ClosedStep, FailurePolicy, OpenStep
from gproxy.gateway.policy.report import Readers, Reports, ReportStep
from gproxy.gateway.policy.time_limit import HandlerTimeLimit
from gproxy.http.handler import Handler, Next
from gproxy.http.request import Request
from gproxy.http.time_limit import TimeLimit
from gproxy.observe.metrics import Metrics
from gproxy.runtime import Runtime

_NONE: Mapping[str, ChainOptions] = {}


class PolicySteps:
    """The live handlers by name, with the chain options of those that have some.

    A handler counts its errors for all routes together, and for watched chains too.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        errors: ErrorResponses,
        runtime: Runtime | None = None,
        options: Mapping[str, ChainOptions] = _NONE,
        readers: Readers = None,
    ) -> None:
        self._handlers = handlers
        self._errors = errors
        self._runtime = runtime
        self._options = options
        self._reports = Reports(runtime.metrics, readers) if runtime is not None else None
        self._policies: dict[str, FailurePolicy] = {}
        self._steps: dict[tuple[str, str], Handler] = {}

    def chain(self, names: Iterable[str], report: Collection[str] = ()) -> list[tuple[str, Handler]]:
        """Return what a chain of these handlers calls, with their names. Those in `report` only report there."""
        modes = [(name, self.mode(name, report)) for name in names]
        return [(name, self._step(name, mode)) for name, mode in modes if mode != "off"]

    def mode(self, name: str, report: Collection[str] = ()) -> str:
        """Return the mode of the handler in a chain in which those in `report` only report."""
        return "report" if name in report else self._options[name].mode if name in self._options else "enforce"

    def _step(self, name: str, mode: str) -> Handler:
        key = name, mode
        if key not in self._steps:
            self._steps[key] = self._made(name, mode)
        return self._steps[key]

    def _made(self, name: str, mode: str) -> Handler:
        handler, options = self._handlers[name], self._options.get(name, ChainOptions())
        if mode == "enforce" and not options.goes_on and options.time_limit is None:
            return handler
        call: Callable[[Request, Next], Any] = handler
        limit: TimeLimit | None = None
        if options.time_limit is not None:
            call = limited = HandlerTimeLimit(name, options.time_limit, handler)
            limit = limited.limit
        policy = self._policy(name, options)
        if mode == "report":
            assert self._reports is not None  # noqa: S101 only a gateway with a runtime has options
            return ReportStep(policy, call, limit, self._reports, _own_paths(handler))
        return OpenStep(policy, call, limit) if options.goes_on else ClosedStep(policy, call, limit)

    def _policy(self, name: str, options: ChainOptions) -> FailurePolicy:
        if name not in self._policies:
            assert self._runtime is not None  # noqa: S101 only a gateway with a runtime has options
            self._policies[name] = FailurePolicy(name, self._handlers[name], options, self._errors, self._runtime)
        return self._policies[name]

    def watch(self, metrics: Metrics) -> None:
        """Let the metrics follow which handlers are skipped, of those that may be."""
        for policy in self._policies.values():
            if policy.skips:
                metrics.watch("gproxy_handler_skipped", (policy.name,), _skipped(policy))

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """Return the handlers that fail or are skipped, by name, with their state and the number of errors."""
        return {name: policy.describe() for name, policy in self._policies.items() if policy.state}


def _skipped(policy: FailurePolicy) -> Callable[[], float]:
    return lambda: float(policy.is_open)


def _own_paths(handler: object) -> Sequence[str]:
    """Return the paths of the documents that an identity handler answers itself, or its members do."""
    paths = (getattr(one, "own_path", "") for one in (handler, *getattr(handler, "members", ())))
    return [path for path in paths if path]
