"""What each step of a watched chain changes: in the request on its way down, and in the response on its way up.

A step is a handler, or the action of the route. It is seen from outside: the request when it is called, and when it
calls the next step; the response of that step, and its own.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from gproxy.http.body import Body
from gproxy.http.handler import Next
from gproxy.http.header_names import HOP_BY_HOP
from gproxy.http.request import Request
from gproxy.http.response import Response

#: The name of the action, and of what the gateway does between two handlers.
ACTION: Final = ""
GATEWAY: Final = "(gateway)"
_HEADER: Final = "header "
#: The most steps of a request: a handler may call `next` again and again.
_MOST: Final = 100
#: The most characters of a value, and the most bytes of a body that is shown.
_LONGEST: Final = 4096
_LONGEST_BODY: Final = 8192
#: The parts of a request or a response, a text each, by their names; `header NAME` for a header.
Parts = Mapping[str, str]
#: A change: the part, and its text before and after; None: it was not there.
Change = tuple[str, str | None, str | None]


class _Seen:
    """A request or a response at one moment: its parts, and the object that is its body."""

    __slots__ = ("_content", "body", "parts")

    def __init__(self, parts: Parts, body: object, content: bytes | None) -> None:
        self.parts = parts
        self.body = body
        self._content = content

    @property
    def content(self) -> bytes | None:
        """The bytes of a body in memory, also of one that was buffered later; None for a stream."""
        if self._content is None and isinstance(self.body, Body) and self.body.replayable:
            return self.body.at_hand
        return self._content


class Step:
    """A step of one request, with what it has changed."""

    def __init__(self, name: str, depth: int, given: _Seen) -> None:
        #: The name of the handler; ACTION for the action.
        self.name = name
        #: How many steps are around it.
        self.depth = depth
        #: How often the step has called the next one.
        self.calls = 0
        #: The status of its response; 0 before, and if it raised an exception.
        self.status = 0
        #: The exception that it raised, in words; empty without one.
        self.error = ""
        self.given = given
        #: The request as the next step got it, at the last call; without a call as it was at the end.
        self.passed: _Seen | None = None
        #: The response of the next step, and its own.
        self.received: _Seen | None = None
        self.returned: _Seen | None = None

    def following(self, following: Next) -> Next:
        """Return the rest of the chain, whose calls are noted."""

        def call(request: Request) -> Response:
            self.calls += 1
            self.passed = _of_request(request)
            response = following(request)
            self.received = _of_response(response)
            return response

        return call

    def describe(self) -> dict[str, Any]:
        """Return the step with its changes, of values that `marshal` can write."""
        down = changes(self.given, self.passed) if self.passed is not None else []
        up = changes(self.received, self.returned) if self.received is not None and self.returned is not None else []
        return {
            "name": self.name, "depth": self.depth, "calls": self.calls, "status": self.status, "error": self.error,
            "down": down, "up": up,
        }  # fmt: skip


class StepChanges:
    """The runner of the steps of one request, which notes what they change."""

    def __init__(self, request: Request) -> None:
        #: What the gateway has changed in the fields of the request before its first step.
        self.entry = _changes_at_entry(request)
        self.steps: list[Step] = []
        #: The steps that have not returned, outermost first.
        self._open: list[Step] = []

    def run(self, name: str, step: Callable[[Request, Next], Any], request: Request, following: Next) -> Any:  # noqa: ANN401 a handler may return anything
        """Run a step, and note what it changes."""
        if len(self.steps) >= _MOST:
            return step(request, following)
        noted = self._begin(name, request)
        try:
            response = step(request, noted.following(following))
        except BaseException as error:
            noted.error = _described(error)
            raise
        finally:
            if noted.passed is None:  # it has answered itself, or failed: what it had changed until then
                noted.passed = _of_request(request)
            if noted in self._open:
                self._open.remove(noted)
        if isinstance(response, Response):
            noted.status, noted.returned = response.status, _of_response(response)
        return response

    def end(self) -> None:
        """Do nothing: what was noted is read when the exchange has ended."""

    def _begin(self, name: str, request: Request) -> Step:
        given, caller = _of_request(request), self._open[-1] if self._open else None
        if caller is not None and caller.passed is not None and changes(caller.passed, given):
            between = Step(GATEWAY, caller.depth + 1, caller.passed)
            between.passed, between.calls = given, 1
            self.steps.append(between)
        noted = Step(name, 0 if caller is None else caller.depth + 1, given)
        self.steps.append(noted)
        self._open.append(noted)
        return noted


def _described(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 the exception of the handler is the one to raise
        text = "(it has no text: its __str__ fails)"
    return f"{type(error).__name__}: {text}"[:_LONGEST]


def changes(before: _Seen, after: _Seen) -> list[Change]:
    """Return what differs, in the order of the parts; of a body the content, if that is a short text."""
    found: list[Change] = []
    for part in {**before.parts, **after.parts}:
        old, new = before.parts.get(part), after.parts.get(part)
        if old != new:
            found.append((part, old, new))
    if before.body is not after.body and not (before.content is not None and before.content == after.content):
        old, new = _text(before.content), _text(after.content)
        is_shown = old is not None and new is not None
        found.append(("body", old, new) if is_shown else ("body", _words(before.content), _words(after.content)))
    return found


def changes_when_sent(step: Step, pairs: Iterable[tuple[str, str]]) -> list[Change]:
    """Return what the action has changed in the fields of the request that a backend got."""
    given = {part: text for part, text in step.given.parts.items() if part.startswith(_HEADER)}
    sent = {part: text for part, text in _fields(pairs).items() if part.removeprefix(_HEADER).lower() not in HOP_BY_HOP}
    return _by_name(changes(_Seen(given, None, None), _Seen(sent, None, None)))


def _by_name(found: list[Change]) -> list[Change]:
    """Return changes of fields without those in which only the spelling of a name differs."""
    gone = {(part.lower(), old) for part, old, new in found if new is None}
    come = {(part.lower(), new) for part, old, new in found if old is None}
    both = gone & come
    return [one for one in found if (one[0].lower(), one[1] if one[2] is None else one[2]) not in both]


def _changes_at_entry(request: Request) -> list[Change]:
    kept = [pair for pair in request.received.headers.items() if pair[0].lower() not in HOP_BY_HOP]
    before = _Seen(_fields(kept), None, None)
    return changes(before, _Seen(_fields(request.headers.items()), None, None))


def _of_request(request: Request) -> _Seen:
    parts = {
        "method": request.method, "host": request.host, "path": _cut(request.path), "query": _cut(request.query),
        "client": request.client, "user": _cut(request.user),
    }  # fmt: skip
    known = {name: text for name, text in parts.items() if text}
    body = request.body
    is_there = body.replayable or body.length == len(body.at_hand)
    return _Seen({**known, **_fields(request.headers.items())}, body, body.at_hand if is_there else None)


def _of_response(response: Response) -> _Seen:
    body = response.raw_body
    parts = {"status": str(response.status), **_fields(response.headers.items())}
    return _Seen(parts, body, body if isinstance(body, bytes) else None)


def _fields(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the fields by `header NAME`, the lines of a repeated name joined; a name has the spelling of its first."""
    found: dict[str, str] = {}
    spelled: dict[str, str] = {}
    for name, value in pairs:
        part = spelled.setdefault(name.lower(), f"{_HEADER}{name}")
        found[part] = f"{found[part]}, {value}" if part in found else value
    return {part: _cut(value) for part, value in found.items()}


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _text(content: bytes | None) -> str | None:
    """Return a short body as text; None for any other one."""
    if content is None or len(content) > _LONGEST_BODY:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _words(content: bytes | None) -> str:
    return "(a stream)" if content is None else f"({len(content)} bytes)"
