"""The requests in flight of all workers: the list, one of them, and the end of one."""

from typing import Any, Final

from gproxy.http.errors import HTTPError
from gproxy.http.phase import PHASES
from gproxy.introspection.in_flight import STACKS, check_parameters
from gproxy.monitor.access import audit
from gproxy.monitor.api.operation import Call, Parameter
from gproxy.monitor.processes.worker_lines import WorkerAnswer

Entry = dict[str, Any]

#: The parameters of the list.
FILTERS: Final = (
    Parameter("route", "text", "requests of this route"),
    Parameter("upstream", "text", "requests to this upstream"),
    Parameter("backend", "text", "requests to this backend, as HOST:PORT"),
    Parameter("client", "text", "requests of this address or network"),
    Parameter("older", "seconds", "requests in flight for longer"),
    Parameter("phase", "text", "requests in this phase", PHASES),
    Parameter("limit", "number", "the most requests, the oldest ones"),
    Parameter("stack", "text", "yes: with the stack of each; all: with the gateway's own frames", STACKS),
)
#: The parameter of one request.
DEPTH: Final = (Parameter("stack", "text", "all: with the gateway's own frames", STACKS[1:]),)


def requests(call: Call) -> dict[str, Any]:
    """Return the requests in flight, oldest first, and the workers whose requests are missing. Raises HTTPError 400."""
    parameters = {name: f"{value}s" if name == "older" else f"{value}" for name, value in call.values.items()}
    try:
        check_parameters(parameters)
    except ValueError as error:
        raise HTTPError(400, str(error)) from None
    answers = call.gateway.lines.ask("requests", parameters)
    found = [entry for answer in answers for part in answer.parts for entry in part["requests"]]
    found.sort(key=_age, reverse=True)
    return {"requests": found[: call.values.get("limit")], "missing": _missing(answers)}


def request(call: Call) -> Entry:
    """Return one request: in flight, with its stack, or one that has failed or was slow. Raises HTTPError 404."""
    answers = call.gateway.lines.ask("request", call.values)
    ended = call.gateway.recent.of_id(call.values["id"])
    if ended is not None and not any(part for answer in answers for part in answer.parts):
        return dict(ended)
    found: Entry = _only(call, answers)["request"]
    return found


def cut(call: Call) -> dict[str, Any]:
    """Cut a request, and return what it was. Raises HTTPError 404."""
    found = _only(call, call.gateway.lines.ask("cut", call.values))
    before = found["before"]
    audit.record(call, f"request {before['id']} {before['method']} {before['path']}", before["phase"], "cut")
    return found


def _age(entry: Entry) -> float:
    age: float = entry["age"]
    return age


def _only(call: Call, answers: list[WorkerAnswer]) -> dict[str, Any]:
    """Return the part of the worker that has the request. Raises HTTPError 404."""
    for part in (part for answer in answers for part in answer.parts if part):
        return part
    silent = [f"worker {one['worker']} {one['error']}" for one in _missing(answers)]
    unknown = f"no request in flight has the id {call.values['id']}, and none that failed or was slow"
    raise HTTPError(404, "; ".join([unknown, *silent]))


def _missing(answers: list[WorkerAnswer]) -> list[dict[str, Any]]:
    """Return the workers that have not answered."""
    return [
        {"worker": one.worker.number, "generation": one.worker.generation, "pid": one.worker.pid, "error": one.error}
        for one in answers
        if one.error
    ]
