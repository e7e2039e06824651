"""The questions that the monitor asks a worker, with the functions that answer them.

A function gets a WorkerView and the arguments of the question, and yields the parts of its answer. The loop turns after
each part, so a part is small: at most 100 requests. The modules are imported before the worker serves: an import would
block the loop.
"""

from collections.abc import Callable, Iterator, Mapping
from pkgutil import resolve_name
from typing import Any, Final

from gproxy.introspection.worker_view import WorkerView

Answer = Callable[..., Iterator[Mapping[str, Any]]]

ANSWERS: Final = {
    "requests": "gproxy.introspection.in_flight:requests",
    "request": "gproxy.introspection.in_flight:request",
    "cut": "gproxy.introspection.in_flight:cut",
    "upstreams": "gproxy.introspection.live_upstreams:upstreams",
    "override": "gproxy.introspection.live_upstreams:override",
    "status": "gproxy.introspection.process_status:status",
    "config": "gproxy.introspection.live_config:config",
    "jobs": "gproxy.introspection.live_jobs:jobs",
    "run_job": "gproxy.introspection.live_jobs:run_job",
    "tap": "gproxy.introspection.line_tap:tap",
    "record": "gproxy.recording.recorder:record",
    "debug": "gproxy.debugger.rule:debug",
}
#: The questions that `[admin] debug` permits. Without it, their modules are not imported, and they have no answer.
_DEBUGGING: Final = frozenset({"debug"})


class UnknownQuestionError(LookupError):
    """A question that this version of the gateway has no answer to."""


def import_answers(*, debug: bool) -> None:
    """Import the modules of all answers, so that no question has to; those of a debugger only if it is permitted."""
    for question, place in ANSWERS.items():
        if debug or question not in _DEBUGGING:
            resolve_name(place)


def answer(view: WorkerView, question: str, arguments: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Return the parts of the answer. Raises UnknownQuestionError, and what the question's function raises."""
    if question in _DEBUGGING and not view.settings.admin.debug:
        raise UnknownQuestionError(f"{question} needs [admin] debug = yes")
    if question not in ANSWERS:
        raise UnknownQuestionError(f"unknown question {question!r}")
    function: Answer = resolve_name(ANSWERS[question])
    return function(view, **arguments)
