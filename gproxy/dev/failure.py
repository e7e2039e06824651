"""What a developer needs to know of an exception: its frames with their source, its causes and the request.

All texts are bounded, and secrets in them are masked.
"""

import json
import linecache
from base64 import b64decode
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from traceback import FrameSummary, TracebackException
from typing import Final
from urllib.parse import quote, unquote_plus

from gproxy.config.secret_values import SHORTEST_MASKED
from gproxy.config.types.units import shortened
from gproxy.dev.step_changes import StepChanges, changes
from gproxy.http.exchange import without_query
from gproxy.http.header_names import is_likely_secret
from gproxy.http.request import Request
from gproxy.runtime.user_files import is_own, is_users

MASK: Final = "***"
#: The most exceptions, causes and members of a group together; frames of each, and frames of each that have source.
_MOST_ERRORS: Final = 6
_MOST_FRAMES: Final = 40
_MOST_SOURCES: Final = 12
#: Lines of source before and behind the line of a frame, and characters of each.
_AROUND: Final = 5
_LONGEST_LINE: Final = 160
#: Characters of the text of an exception, and of the value of a field; the most fields.
_LONGEST_TEXT: Final = 4000
_LONGEST_VALUE: Final = 500
_MOST_FIELDS: Final = 60
#: The most handlers whose changes are shown, and changes of each.
_MOST_STEPS: Final = 30
_MOST_CHANGES: Final = 20

#: Masks secrets in a text.
Hide = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of a traceback. `source` has the numbered lines around the line, if the file can be read."""

    file: str
    line: int
    function: str
    is_users: bool
    source: Sequence[tuple[int, str]] = ()

    @property
    def code(self) -> str:
        """The line itself, without its indentation."""
        return next((text.strip() for number, text in self.source if number == self.line), "")


@dataclass(frozen=True, slots=True)
class RaisedError:
    """An exception: its text, and its frames, the innermost first. `link` says what it was to one before."""

    text: str
    frames: Sequence[Frame]
    link: str = ""

    @property
    def own(self) -> Sequence[Frame]:
        """The frames of user code."""
        return [frame for frame in self.frames if frame.is_users]


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed request: its exception and the causes of that, its line, and its fields."""

    errors: Sequence[RaisedError]
    line: str
    route: str
    client: str
    fields: Sequence[tuple[str, str]]
    #: What each handler has changed in the request, in words; outermost first.
    steps: Sequence[tuple[str, Sequence[str]]] = ()

    @classmethod
    def of(cls, error: BaseException, request: Request, hide: Hide) -> "Failure":
        """Return what is known of the exception of this request."""
        first = TracebackException(type(error), error, error.__traceback__, lookup_lines=False)
        received = request.received
        path, mark, query = received.target.partition("?")
        target = f"{path}{mark}{_query(query)}"
        return cls(
            errors=[RaisedError(_text(one, hide), _frames(one, hide), link) for one, link in _chain(first)],
            line=shortened(hide(f"{received.method} {target} {received.protocol}"), _LONGEST_TEXT),
            route=request.route.name if request.route is not None else "",
            client=request.client,
            fields=[_field(name, value, hide) for name, value in received.headers.items()][:_MOST_FIELDS],
            steps=[(name, changes) for name, changes in _steps(request, hide) if changes],
        )


def secrets_of(request: Request) -> frozenset[str]:
    """Return the values of the fields of the request that are likely to be secrets, and what these consist of."""
    values = [value for name, value in request.received.headers.items() if is_likely_secret(name)]
    found = {one for value in values for one in _secrets(value) if len(one) >= SHORTEST_MASKED}
    return frozenset(spelling for one in found for spelling in _spellings(one))


def _spellings(secret: str) -> Iterator[str]:
    """Yield the secret as it is, and as it stands in a `repr`, in JSON and in a URL."""
    yield secret
    yield repr(secret)[1:-1]
    yield json.dumps(secret)[1:-1]
    yield quote(secret, safe="")


def _secrets(value: str) -> Iterator[str]:
    """Yield the value of a field, the credential behind a scheme, a password, and the values of cookies."""
    yield value
    scheme, _, credential = value.partition(" ")
    yield credential.strip()
    if scheme.lower() == "basic":
        with suppress(ValueError):
            yield b64decode(credential).decode().partition(":")[2]
    for pair in value.split(";"):
        yield pair.partition("=")[2].strip(' "')


def _query(query: str) -> str:
    return "&".join(map(_parameter, query.split("&")))


def _parameter(pair: str) -> str:
    """Return a parameter of the query, without the value of one that is likely to be a secret."""
    name, equals, _ = pair.partition("=")
    return f"{name}={MASK}" if equals and is_likely_secret(unquote_plus(name)) else pair


def _field(name: str, value: str, hide: Hide) -> tuple[str, str]:
    shown = MASK if is_likely_secret(name) else hide(without_query(value) if name.lower() == "referer" else value)
    return shortened(name, _LONGEST_VALUE), shortened(shown, _LONGEST_VALUE)


def _steps(request: Request, hide: Hide) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the handlers with their changes of the request, as far as they are noted."""
    runners = getattr(request.exchange.account, "runners", ())
    noted = next((one for one in runners if isinstance(one, StepChanges)), None)
    for step in noted.steps[:_MOST_STEPS] if noted is not None else ():
        if step.passed is not None:
            found = changes(step.given, step.passed)[:_MOST_CHANGES]
            yield step.name or "the action", [_change(*one, hide) for one in found]


def _change(part: str, before: str | None, after: str | None, hide: Hide) -> str:
    """Return a change in words: `+ header X-Tenant: acme`, `path: /a → /b`."""
    old, new = (None if text is None else _value(part, text, hide) for text in (before, after))
    if old is None:
        return f"+ {part}: {new}"
    return f"- {part}: {old}" if new is None else f"{part}: {old} → {new}"


def _value(part: str, text: str, hide: Hide) -> str:
    if part.startswith("header ") and is_likely_secret(part):
        return MASK
    return shortened(hide(_query(text) if part == "query" else text), _LONGEST_VALUE)


def _chain(first: TracebackException) -> Iterator[tuple[TracebackException, str]]:
    """Yield the exception and those behind it, each with what it was to the other."""
    waiting = deque([(first, "")])
    for _ in range(_MOST_ERRORS):
        if waiting:
            one, link = waiting.popleft()
            yield one, link
            waiting.extend(_behind(one))


def _behind(error: TracebackException) -> Iterator[tuple[TracebackException, str]]:
    """Yield the members of a group, and the cause."""
    for member in error.exceptions or ():
        yield member, "in the group"
    if error.__cause__ is not None:
        yield error.__cause__, "caused by"
    elif error.__context__ is not None and not error.__suppress_context__:
        yield error.__context__, "while handling"


def _text(error: TracebackException, hide: Hide) -> str:
    """Return the text of the exception; that of a SyntaxError begins with its message too, not with its place."""
    lines = list(error.format_exception_only())
    first = next((index for index, line in enumerate(lines) if not line.startswith(" ")), 0)
    return shortened(hide("".join([*lines[first:], *lines[:first]]).strip()), _LONGEST_TEXT)


def _frames(error: TracebackException, hide: Hide) -> Sequence[Frame]:
    """Return the frames, the innermost first, without those of the gateway unless there are no others.

    A deep recursion has too many: those of libraries go first, then the outermost ones.
    """
    every = error.stack[::-1]
    relevant = [frame for frame in every if not is_own(frame.filename)] or every
    users = [frame for frame in relevant if is_users(frame.filename)]
    others = [frame for frame in relevant if not is_users(frame.filename)]
    shown = {id(frame) for frame in [*users, *others][:_MOST_FRAMES]}
    lasts = {id(frame) for frame in users[:_MOST_SOURCES]}
    return [_frame(frame, hide, has_source=id(frame) in lasts) for frame in relevant if id(frame) in shown]


def _frame(frame: FrameSummary, hide: Hide, *, has_source: bool) -> Frame:
    file, line = frame.filename, frame.lineno or 0
    source = _source(file, line, _AROUND if has_source else 0, hide)
    return Frame(short_path(file), line, frame.name, is_users(file), source)


def _source(file: str, line: int, around: int, hide: Hide) -> Sequence[tuple[int, str]]:
    linecache.checkcache(file)
    lines = linecache.getlines(file)
    first = max(line - around, 1)
    found = enumerate(lines[first - 1 : line + around], first)
    return [(number, shortened(hide(text.rstrip()), _LONGEST_LINE)) for number, text in found]


def short_path(file: str) -> str:
    """Return the path from the working directory, if it lies below."""
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except (OSError, ValueError):
        return file
