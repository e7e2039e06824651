"""The worker's side of the inspector: each request with heads, bodies and changes, as records for the monitor."""

from collections.abc import Sequence
from typing import Any, Final

from gproxy.config.sections.settings import Settings
from gproxy.dev.step_changes import ACTION, Step, StepChanges, changes_when_sent
from gproxy.http.exchange import Exchange
from gproxy.http.request import Request
from gproxy.runtime import Runtime
from gproxy.runtime.command_part import Captures, CommandPart
from gproxy.runtime.marshalled import marshalled

#: The kind of the records.
KIND: Final = "inspected"
#: The most bytes of a body, and of all bodies of a request.
BODY_LIMIT: Final = 64 * 1024
_MOST_BYTES: Final = 512 * 1024
#: The most records that wait for a slow monitor; further ones are dropped and counted.
_MOST_WAITING: Final = 40
#: The most characters of a user.
_LONGEST: Final = 8192


class Inspector(CommandPart):
    """The part of `gproxy dev` that captures every request; `gateway.watch.capture_rules` has what it must offer."""

    #: Every route, and requests without one.
    routes: Sequence[str] = ()
    body_limit = BODY_LIMIT

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        super().__init__(settings, runtime)
        self._feed = runtime.feed
        #: The number of requests that were dropped since the last record.
        self._omitted = 0

    def watch(self, captures: Captures) -> None:
        """Capture every request, and note what its steps change."""
        captures.add(self)
        self.runtime.live_rules.append(self)

    def wants(self, request: Request) -> bool:  # noqa: ARG002 every request is captured
        """Return True if there is a monitor that shows the request."""
        return self._feed is not None

    def begin(self, request: Request) -> StepChanges:
        """Return what runs the steps of the request, and notes what they change."""
        return StepChanges(request)

    def take(self, capture: Any, exchange: Exchange) -> None:  # noqa: ANN401 its class is not known here
        """Pass an exchange that has ended to the monitor."""
        feed = self._feed
        if feed is None:
            return
        if feed.waiting < _MOST_WAITING:
            fields = fields_of(capture, exchange)
            size = len(marshalled(fields))
            if feed.put_long(KIND, {**fields, "omitted": self._omitted, "size": size}, size):
                self._omitted = 0
                return
        feed.dropped += 1
        self._omitted += 1


class _Bodies:
    """The bodies of one record, each once, whatever shows it."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []
        self._places: dict[int, int] = {}
        self._room = _MOST_BYTES

    def place(self, passed: Any) -> int | None:  # noqa: ANN401 bytes that have passed, of a class not known here
        """Return the place of a body; None without one."""
        if passed is None:
            return None
        known = self._places.get(id(passed))
        if known is None:
            data = bytes(passed.kept[: self._room])
            self._room -= len(data)
            is_whole = passed.is_whole and len(data) == passed.size
            self.found.append({"data": data, "size": passed.size, "is_whole": is_whole})
            known = self._places[id(passed)] = len(self.found) - 1
        return known


def fields_of(capture: Any, exchange: Exchange) -> dict[str, Any]:  # noqa: ANN401 its class is not known here
    """Return the record of an exchange, of values that `marshal` can write."""
    account: Any = exchange.account
    request: Request = capture.request
    received, bodies = request.received, _Bodies()
    steps = next((one for one in account.runners if isinstance(one, StepChanges)), None)
    line = f"{received.method} {received.target} {received.protocol}"
    shown = {"line": line, "headers": _pairs(received.headers.items()), "body": bodies.place(capture.body)}
    return {
        **_facts(exchange),
        "peer": received.peer,
        "scheme": received.scheme,
        "target": received.target,
        "account": dict(account.parts),
        "request": shown,
        "response": _response(capture, bodies),
        "entry": [] if steps is None else steps.entry,
        "steps": [] if steps is None else [_step(one, capture) for one in steps.steps],
        "attempts": [_attempt(one, bodies) for one in capture.attempts],
        "omitted_attempts": capture.omitted_attempts,
        "bodies": bodies.found,
    }


def _facts(exchange: Exchange) -> dict[str, Any]:
    return {
        "id": exchange.id, "started": exchange.started, "client": exchange.client, "user": exchange.user[:_LONGEST],
        "auth": exchange.auth, "method": exchange.method, "protocol": exchange.protocol, "host": exchange.host,
        "route": exchange.route, "upstream": exchange.upstream, "backend": exchange.backend, "tries": exchange.tries,
        "status": exchange.status, "reason": exchange.reason, "report": exchange.report,
        "duration": exchange.duration, "received": exchange.bytes_received, "sent": exchange.bytes_sent,
    }  # fmt: skip


def _step(step: Step, capture: Any) -> dict[str, Any]:  # noqa: ANN401 its class is not known here
    """Return a step; that of the action has what it has changed for the last backend."""
    heads = [one.head for one in capture.attempts if one.head and not one.owner.is_subrequest]
    if step.name != ACTION or not heads:
        return step.describe()
    lines = heads[-1].decode("latin-1").split("\r\n")[1:]
    return {**step.describe(), "down": changes_when_sent(step, [(name, value) for name, value in _fields(lines)])}


def _response(capture: Any, bodies: _Bodies) -> dict[str, Any] | None:  # noqa: ANN401 its class is not known here
    response = capture.response
    if response is None:
        return None
    body = bodies.place(capture.response_body)
    headers = _pairs(response.headers.items())
    return {"status": response.status, "phrase": response.phrase, "headers": headers, "body": body}


def _attempt(one: Any, bodies: _Bodies) -> dict[str, Any]:  # noqa: ANN401 not known here
    lines = one.head.decode("latin-1").split("\r\n")
    sent = {"line": lines[0], "headers": _fields(lines[1:]), "body": bodies.place(one.body)}
    answered = None
    if one.status:
        place = bodies.place(one.response_body)
        answered = {"status": one.status, "phrase": "", "headers": _pairs(one.headers), "body": place}
    return {
        "upstream": one.upstream, "backend": one.backend, "error": one.error, "seconds": one.ended - one.began,
        "of_handler": one.owner.is_subrequest, "shared": one.is_shared, "request": sent if one.head else None,
        "response": answered,
    }  # fmt: skip


def _fields(lines: list[str]) -> list[list[str]]:
    found = (line.partition(":") for line in lines if line)
    return [[name, value.strip()] for name, _, value in found]


def _pairs(pairs: Any) -> list[list[str]]:  # noqa: ANN401 pairs of texts, of any kind
    return [[name, value] for name, value in pairs]
