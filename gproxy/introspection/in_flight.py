"""The requests in flight of a worker: the list, one of them, and the end of one.

There is no register: the open connections of the listeners are the list. To read an entry costs about 50 µs.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, Protocol

from gproxy.config.types.addresses import network_of
from gproxy.config.types.units import parse_seconds
from gproxy.http.phase import DEBUG, PHASES
from gproxy.http.request import Request
from gproxy.http.time_limit import TimeLimit
from gproxy.http.trust import is_in
from gproxy.introspection.handler_code import HandlerCode
from gproxy.introspection.stacks import place_of, spawned_by, stack_of
from gproxy.runtime import Runtime
from gproxy.runtime.alarm import Alarm

#: The loop turns after so many requests of an answer.
SLICE: Final = 100
#: The values of `stack`: without stacks, with folded ones, with all frames.
STACKS: Final = ("no", "yes", "all")
#: The limits of waits for the client, during which the others are paused.
_OF_CLIENT: Final = frozenset({TimeLimit.BODY, TimeLimit.WRITE, TimeLimit.RATE})

#: The longest path and user of an entry, in characters, as in the records of failed requests.
_LONGEST: Final = 2048

Entry = dict[str, Any]
Filter = Callable[[Request], bool]


class ActiveRequest(Protocol):
    """A client connection, or a stream of one, that has a request in progress."""

    @property
    def request(self) -> Request | None: ...
    @property
    def alarm(self) -> Alarm: ...
    @property
    def sent(self) -> int:
        """The bytes sent of the response's body."""

    def cut(self, limit: TimeLimit, /) -> None:
        """End the request in progress with this limit."""


class OpenConnection(Protocol):
    """A client connection; an HTTP/1 connection is the one active request itself."""

    @property
    def active_requests(self) -> Sequence[ActiveRequest]: ...


class OpenConnections(Protocol):
    """The open connections of a listener."""

    def __iter__(self) -> Iterator[OpenConnection]: ...


class View(Protocol):
    """The parts of a worker that show its requests. `connections` has one item for each listener."""

    @property
    def number(self) -> int: ...
    @property
    def generation(self) -> int: ...
    @property
    def runtime(self) -> Runtime: ...
    @property
    def handler_code(self) -> HandlerCode: ...
    @property
    def connections(self) -> Sequence[OpenConnections]: ...


def requests(view: View, **parameters: str) -> Iterator[dict[str, Any]]:
    """Yield the requests in flight, oldest first. Raises ValueError for an unknown parameter or a wrong value."""
    chosen = _Selection(parameters, view.runtime.clock())
    found = [one for one in _active(view) if all(holds(one[1]) for holds in chosen.filters)]
    found.sort(key=lambda one: one[1].exchange.started)
    left = iter(found[: chosen.limit])
    while part := list(islice(left, SLICE)):
        # the loop turns between two parts, and a request may end meanwhile
        yield {"requests": [_entry(view, *one, stack=chosen.stack) for one in part if one[0].request is one[1]]}


def check_parameters(parameters: dict[str, str]) -> None:
    """Check the parameters of `requests`. Raises ValueError for an unknown one or a wrong value."""
    _Selection(parameters, 0.0)


def request(view: View, id: str, stack: str = "yes") -> Iterator[dict[str, Any]]:  # noqa: A002 as in the API
    """Yield the request of this id with its stack and the stacks of the greenlets that it has spawned, or nothing."""
    depth = _word("stack", stack, STACKS[1:])
    for active, found in _active(view):
        if found.id == id:
            entry = _entry(view, active, found, stack=depth)
            code, whole = view.handler_code, depth == "all"
            others = spawned_by(active.alarm.greenlet)
            entry["greenlets"] = [stack_of(other, code, is_whole=whole) for other in others]
            yield {"request": entry | {"paused": round(found.deadline.paused, 3)}}
            return
    yield {}


def cut(view: View, id: str) -> Iterator[dict[str, Any]]:  # noqa: A002 as in the API
    """Cut each request of this id, and yield what the first one was, or nothing."""
    before = None
    for active, found in _active(view):
        if found.id == id:
            before = before or _entry(view, active, found, stack="no")
            active.cut(TimeLimit.CUT)
    yield {"cut": True, "before": before} if before else {}


def _active(view: View) -> list[tuple[ActiveRequest, Request]]:
    active = (one for many in view.connections for connection in many for one in connection.active_requests)
    return [(one, found) for one in active if (found := one.request) is not None]


class _Selection:
    """The parameters of a question for requests, as text: filters, the most requests, and whether to show stacks."""

    def __init__(self, parameters: dict[str, str], now: float) -> None:
        self.filters: list[Filter] = []
        self.limit: int | None = None
        self.stack = "no"
        for name, value in parameters.items():
            if name == "limit":
                self.limit = _count(value)
            elif name == "stack":
                self.stack = _word("stack", value, STACKS)
            elif name in _FILTERS:
                self.filters.append(_FILTERS[name](value, now))
            else:
                known = ", ".join([*_FILTERS, "limit", "stack"])
                raise ValueError(f"{name}: unknown parameter; expected one of {known}")


def _of_route(name: str, _: float) -> Filter:
    return lambda request: _route(request) == name


def _of_upstream(name: str, _: float) -> Filter:
    return lambda request: request.upstream == name


def _of_backend(name: str, _: float) -> Filter:
    return lambda request: request.backend == name


def _of_client(text: str, _: float) -> Filter:
    try:
        network = network_of(text)
    except ValueError as error:
        if "/" not in text:  # such as unix:
            return lambda request: request.client == text
        raise ValueError(f"client: {error}") from None
    return lambda request: is_in(request.client, [network])


def _of_age(text: str, now: float) -> Filter:
    try:
        seconds = parse_seconds(text)
    except ValueError:
        raise ValueError(f"older: {text!r} is no time; expected one such as 2s") from None
    return lambda request: now - request.exchange.started > seconds


def _of_phase(word: str, _: float) -> Filter:
    number = PHASES.index(_word("phase", word, PHASES))
    return lambda request: request.phase == number


#: By parameter: a function of its text and of the time that returns the filter.
_FILTERS: Final[dict[str, Callable[[str, float], Filter]]] = {
    "route": _of_route,
    "upstream": _of_upstream,
    "backend": _of_backend,
    "client": _of_client,
    "older": _of_age,
    "phase": _of_phase,
}


def _word(name: str, value: str, words: Sequence[str]) -> str:
    if value not in words:
        raise ValueError(f"{name}: {value!r} is unknown; expected one of {', '.join(words)}")
    return value


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 10 and int(text)):
        raise ValueError(f"limit: {text!r} is no number of requests; expected one such as 100")
    return int(text)


def _entry(view: View, active: ActiveRequest, request: Request, *, stack: str) -> Entry:
    """Return the request as the API shows it; its path is without the query, which may hold secrets."""
    exchange, waiting = request.exchange, active.alarm.greenlet
    code: HandlerCode = view.handler_code
    handler, line = place_of(waiting, code)
    return {
        "id": request.id,
        "trace_id": exchange.trace_ids[0] or None,
        "worker": view.number,
        "generation": view.generation,
        "route": _route(request),
        "upstream": request.upstream or None,
        "client": request.client,
        "user": request.user[:_LONGEST] or None,
        "method": exchange.method,
        "path": exchange.target[:_LONGEST],
        "age": round(max(0.0, view.runtime.clock() - exchange.started), 3),
        "phase": PHASES[request.phase],
        "handler": handler or None,
        "line": line or None,
        "backend": request.backend,
        "tries": request.tries,
        "received": request.body.received,
        "sent": active.sent,
        "remaining": _remaining(active, request),
        "stack": None if stack == "no" else stack_of(waiting, code, is_whole=stack == "all"),
    }


def _route(request: Request) -> str | None:
    return None if request.route is None else request.route.name


def _remaining(active: ActiveRequest, request: Request) -> float | str | None:
    """Return the seconds until the limit of the exchange expires; None without one, and a text while it is paused."""
    deadline, alarm = request.deadline, active.alarm
    if deadline.expires == math.inf:
        return None
    if request.phase == DEBUG:
        return "debugging"
    if alarm.limit in _OF_CLIENT and alarm.expires != math.inf:
        return "waiting for the client"
    return round(deadline.remaining(), 3)
