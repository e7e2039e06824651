"""The rule of `gproxy debug`: it takes one request, in one of three ways.

| kind | the request is stopped |
|---|---|
| `StopBefore` | before a handler, or before the action of a route without one |
| `StopAtLine` | at a line, wherever the greenlet of the request gets there |
| `StopOnError` | after an exception of a handler or an app, where it was raised |

The request is taken when it would stop, so a rule waits for the first request that reaches its line. `user` is judged
then, too: the identity handlers have run.
"""

import re
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Protocol

from gproxy.config.problems import suggest
from gproxy.config.types.addresses import Network, network_of
from gproxy.debugger.breakpoint import WAITING
from gproxy.debugger.claim import Claim
from gproxy.debugger.session import TURN, DebugSession, paused
from gproxy.debugger.trace_filter import TRACES
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.trust import is_in
from gproxy.runtime import Runtime
from gproxy.runtime.live_rules import LiveRule, StepRunner

Step = Callable[[Request, Next], Any]


class View(Protocol):
    """The parts of a worker that a rule needs."""

    @property
    def runtime(self) -> Runtime: ...
    @property
    def number(self) -> int: ...
    @property
    def gateway(self) -> Any: ...  # noqa: ANN401 the types of the gateway are not known here


@dataclass(frozen=True)
class Wanted:
    """The request that a rule waits for. Empty texts demand nothing. Raises ValueError.

    handler: the name of the handler to stop before. at: FILE:LINE. hold: seconds.
    """

    hold: float
    path: str = ""
    method: str = ""
    header: str = ""
    client: str = ""
    user: str = ""
    handler: str = ""
    at: str = ""
    on_error: bool = False

    def __post_init__(self) -> None:
        if self.client:
            self._network  # noqa: B018 raises ValueError

    @cached_property
    def _network(self) -> Network:
        try:
            return network_of(self.client)
        except ValueError as error:
            raise ValueError(f"client: {error}") from None

    @cached_property
    def _path(self) -> re.Pattern[str]:
        return re.compile(".*".join(map(re.escape, re.split(r"\*+", self.path))), re.DOTALL)

    def matches(self, request: Request) -> bool:
        """Return whether the request is one that the rule waits for, as far as it is known before its chain."""
        return (
            (not self.path or self._path.fullmatch(request.path) is not None)
            and (not self.method or request.method == self.method.upper())
            and (not self.header or self._has_header(request))
            and (not self.client or is_in(request.client, [self._network]))
        )

    def _has_header(self, request: Request) -> bool:
        name, colon, value = self.header.partition(":")
        found = request.headers.get(name.strip())
        return found is not None and (not colon or found.strip() == value.strip())

    def is_user(self, request: Request) -> bool:
        """Return whether the request is the user's; False while the user is not known."""
        return not self.user or request.user == self.user


class DebugRule(LiveRule):
    """A rule for one request, until it has taken one, or its stream ends. `kind` makes the runner of a request."""

    def __init__(
        self, wanted: Wanted, sock: socket.socket, view: View, kind: "Callable[[DebugRule, Request], StoppingRunner]"
    ) -> None:
        self.wanted = wanted
        self._kind = kind
        self._worker = view.number
        self._rules = view.runtime.live_rules
        self._claim = Claim(sock, self.end)
        self.is_over = False
        self._rules.append(self)

    def end(self) -> None:
        """Take no request any more."""
        self.is_over = True
        with suppress(ValueError):
            self._rules.remove(self)

    def wants(self, request: Request) -> bool:
        """Return whether the request must take the watched chain."""
        return not self.is_over and self.wanted.matches(request)

    def begin(self, request: Request) -> StepRunner | None:
        """Return what runs the steps of a request that matches."""
        return self._kind(self, request) if self.wants(request) else None

    def take(self, request: Request) -> DebugSession | None:
        """Take the request that would stop now, and return its session; None if it passes."""
        client = request.client_stream
        if self.is_over or not self.wanted.is_user(request) or (client is not None and not client.in_own_greenlet()):
            return None
        if not TURN.take(wait=False):
            return None
        what = {"worker": self._worker, "id": request.id, "method": request.method, "path": request.path}
        self.end()
        has_terminal = False
        try:
            with paused(request):
                has_terminal = self._claim.ask(what)
        finally:  # the request may be cut meanwhile
            if not has_terminal:
                TURN.give_back()
        return DebugSession(self._claim.terminal(), request, self.wanted.hold) if has_terminal else None


class StoppingRunner(StepRunner):
    """A runner of the steps of one request that stops it once; a subclass knows where."""

    def __init__(self, rule: DebugRule, request: Request) -> None:
        self.rule = rule
        self.request = request
        self.session: DebugSession | None = None

    def run(self, name: str, step: Step, request: Request, following: Next) -> Any:  # noqa: ANN401 as in StepRunner
        """Run a step; the first one that may stop the request does."""
        if self.session is None and not self.rule.is_over and self.may_stop(name):
            return self.run_stopping(name, step, request, following)
        return step(request, following)

    def may_stop(self, name: str) -> bool:  # noqa: ARG002 a subclass may need it
        """Return whether this step may stop the request."""
        return True

    def run_stopping(self, name: str, step: Step, request: Request, following: Next) -> Any:  # noqa: ANN401 as above
        """Run the step, and stop the request before, within or after it."""
        raise NotImplementedError

    def end(self) -> None:
        """End the session with the chain."""
        if self.session is not None:
            self.session.end()


class StopBefore(StoppingRunner):
    """A runner that stops the request before a step."""

    def may_stop(self, name: str) -> bool:
        """Return whether this is the handler that the rule names, if it names one."""
        wanted = self.rule.wanted
        return (not wanted.handler or name == wanted.handler) and wanted.is_user(self.request)

    def run_stopping(self, name: str, step: Step, request: Request, following: Next) -> Any:  # noqa: ANN401 as above
        """Stop at the first line of the handler; before an action, which may have no Python frame, stop here."""
        session = self.session = self.rule.take(request)
        if session is None:
            return step(request, following)
        if not name:
            session.stop_now(sys._getframe())  # noqa: SLF001 the frame of this function
            return step(request, following)
        session.step_into()
        return step(request, following)


class StopAtLine(StoppingRunner):
    """A runner that stops the request at a line. It traces only the calls of functions in the line's file."""

    def __init__(self, rule: DebugRule, request: Request, place: "Place") -> None:
        super().__init__(rule, request)
        self._place = place
        self._is_tracing = False

    def may_stop(self, name: str) -> bool:  # noqa: ARG002 as above
        """Return whether no outer step traces already."""
        return not self._is_tracing

    def run_stopping(self, name: str, step: Step, request: Request, following: Next) -> Any:  # noqa: ANN401, ARG002 as above
        """Trace the step and all that it calls."""
        self._is_tracing = True
        TRACES.add(self._call)
        return step(request, following)

    def _call(self, frame: FrameType, event: str, arg: Any) -> Any:  # noqa: ANN401, ARG002 as in sys.settrace
        return self._line if self._place.is_in(frame.f_code) and not self.rule.is_over else None

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:  # noqa: ANN401, ARG002 as in sys.settrace
        if event == "line" and frame.f_lineno == self._place.line and self.session is None:
            self.session = self.rule.take(self.request)
            if self.session is not None:
                return self.session.stop_in(frame)
        return None if self.rule.is_over else self._line

    def end(self) -> None:
        """End the trace and the session with the chain."""
        super().end()
        if self._is_tracing:
            TRACES.remove_own()


class StopOnError(StoppingRunner):
    """A runner that stops the request where a handler or an app has raised. An HTTPError is an answer, and no error."""

    def run_stopping(self, name: str, step: Step, request: Request, following: Next) -> Any:  # noqa: ANN401, ARG002 as above
        """Run the step, and show its exception before the gateway handles it."""
        try:
            return step(request, following)
        except HTTPError:
            raise
        except Exception as error:
            session = self.session = self.session or self.rule.take(request)
            if session is not None:
                session.examine(error)
            raise


@dataclass(frozen=True)
class Place:
    """A line of a file, by its absolute path."""

    file: str
    line: int

    @classmethod
    def of(cls, text: str) -> "Place":
        """Return the place of FILE:LINE; FILE may be the end of the path of a module. Raises ValueError."""
        name, _, number = text.rpartition(":")
        if not name or not number.isdecimal():
            raise ValueError(f"at: {text!r} is no place; expected one such as handlers.py:12")
        place = cls(_file(name), int(number))
        lines = _lines_with_code(place.file)
        if place.line not in lines:
            near = min(lines, key=lambda one: abs(one - place.line), default=0)
            raise ValueError(f"at: there is no code in {text}{f'; the nearest is in line {near}' if near else ''}")
        return place

    def is_in(self, code: CodeType) -> bool:
        """Return whether the line is within the function, judged by its file and its first line."""
        return code.co_firstlineno <= self.line and _absolute(code.co_filename) == self.file


def _file(name: str) -> str:
    """Return the absolute path of a module's file, or of a file. Raises ValueError."""
    if not Path(name).is_absolute():
        modules = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
        found = sorted({_absolute(file) for file in modules if file and f"/{file}".endswith(f"/{name}")})
        if len(found) > 1:
            raise ValueError(f"at: several files are called {name}: {', '.join(found)}")
        if found:
            return found[0]
    if not Path(name).is_file():
        raise ValueError(f"at: no module has the file {name}")
    return _absolute(name)


_paths: dict[str, str] = {}


def _absolute(file: str) -> str:
    """Return an absolute path. PERF: for each call that is traced."""
    found = _paths.get(file)
    if found is None:
        found = _paths[file] = str(Path(file).absolute())
    return found


def _lines_with_code(file: str) -> set[int]:
    try:
        todo = [compile(Path(file).read_bytes(), file, "exec")]
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"at: {file} cannot be read: {error}") from None
    lines: set[int] = set()
    for code in todo:
        lines.update(line for _, _, line in code.co_lines() if line)
        todo += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return lines


def debug(view: View, rule: Mapping[str, Any], stream: socket.socket) -> Iterator[dict[str, object]]:
    """Wait for a request, or for a breakpoint, which then gets the stream as its terminal. Raises ValueError."""
    try:
        if rule.get("attach"):
            WAITING.offer(Claim(stream, WAITING.forget_closed), rule["hold"])
        else:
            wanted = Wanted(**rule)
            DebugRule(wanted, stream, view, _kind(wanted, view))
    except ValueError:
        stream.close()
        raise
    yield {}


def _kind(wanted: Wanted, view: View) -> Callable[[DebugRule, Request], StoppingRunner]:
    """Return what makes the runner of a request. Raises ValueError."""
    if wanted.handler and wanted.handler not in view.gateway.handlers:
        raise ValueError(f"handler: unknown handler {wanted.handler!r}{suggest(wanted.handler, view.gateway.handlers)}")
    if wanted.at:
        place = Place.of(wanted.at)
        return lambda rule, request: StopAtLine(rule, request, place)
    return StopOnError if wanted.on_error else StopBefore
