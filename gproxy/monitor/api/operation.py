"""An operation of the admin API: its place, its parameters, its answer and the right that it needs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from gproxy.config.problems import nearest, suggest
from gproxy.config.types.units import parse_seconds
from gproxy.http.errors import HTTPError
from gproxy.http.request import Request
from gproxy.monitor.access.access_check import AccessCheck, Caller
from gproxy.monitor.api.schema import Schema
from gproxy.monitor.watched_gateway import WatchedGateway

#: The longest time in seconds, some thirty years: its end has a date.
_LONGEST: Final = 1e9


def _boolean(text: str) -> bool:
    if text in {"", "yes", "true", "1"}:
        return True
    if text in {"no", "false", "0"}:
        return False
    raise ValueError("expected yes or no")


def _seconds(text: str) -> float:
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise ValueError(str(error) or "expected a time such as 2s or 500ms") from None


#: The type of a parameter in the URL: how its text is read.
_TYPES: Final[Mapping[str, Callable[[str], Any]]] = {
    "text": str, "number": int, "seconds": _seconds, "boolean": _boolean,
}  # fmt: skip
#: The type of a field of a JSON body: the types of Python that its value may have; a time is a text, as in the URL.
_JSON_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "text": (str,), "number": (int,), "seconds": (str, int, float), "boolean": (bool,),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of an operation, in the query, or as a field of the JSON body."""

    name: str
    kind: Literal["text", "number", "seconds", "boolean"]
    doc: str
    choices: tuple[str, ...] = ()
    is_required: bool = False

    def read(self, value: object) -> Any:  # noqa: ANN401 the type depends on the kind
        """Return the value of a text in the URL, or of a JSON value. Raises HTTPError 400."""
        try:
            found = self._read(value)
        except ValueError as error:
            raise HTTPError(400, f"{self.name}: {error or f'expected a {self.kind}'}") from None
        if self.choices and found not in self.choices:
            meant = nearest(str(found), self.choices)
            hint = f"; did you mean {meant!r}?" if meant else ""
            raise HTTPError(400, f"{self.name}: expected one of {', '.join(self.choices)}{hint}")
        return found

    def _read(self, value: object) -> Any:  # noqa: ANN401 the type depends on the kind
        if isinstance(value, str) and (self.kind in {"text", "seconds"}):
            value = _TYPES[self.kind](value)
        is_other = isinstance(value, bool) and self.kind != "boolean"
        if is_other or not isinstance(value, _JSON_TYPES[self.kind]):
            raise ValueError(f"expected a {self.kind}")
        if self.kind == "seconds" and isinstance(value, int | float) and not 0 <= value <= _LONGEST:
            raise ValueError(f"expected a time from 0 to {_LONGEST:.0f} seconds")
        return float(value) if self.kind == "seconds" and isinstance(value, int | float) else value

    def read_text(self, text: str) -> Any:  # noqa: ANN401 the type depends on the kind
        """Return the value of a text in the URL. Raises HTTPError 400."""
        try:
            value = _TYPES[self.kind](text)
        except ValueError as error:
            raise HTTPError(400, f"{self.name}: {error}") from None
        return self.read(value)


@dataclass(frozen=True, slots=True)
class Call:
    """A call of an operation: the watched gateway, the request, who calls, and the values of path, query and body.

    `operations` are all that the listener has.
    """

    gateway: WatchedGateway
    access: AccessCheck
    operations: "Sequence[Operation]"
    request: Request
    caller: Caller
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation. `answer` returns what becomes JSON, or a Response; it raises HTTPError.

    `path` has `{name}` for parts that vary. `result` is the JSON Schema of the answer. An operation whose method is not
    GET changes something, so it needs the right to act.
    """

    method: str
    path: str
    name: str
    summary: str
    answer: Callable[[Call], Any]
    query: tuple[Parameter, ...] = ()
    body: tuple[Parameter, ...] = ()
    result: Schema | None = None
    #: The media types that the answer may have.
    media_types: tuple[str, ...] = ("application/json",)
    #: The status of success.
    status: int = 200
    #: True for what a client without a credential may see: the login form and its style.
    is_public: bool = False
    #: True for the login form, whose fields come as a form of a page.
    is_form: bool = False

    @property
    def acts(self) -> bool:
        """True if the operation changes something."""
        return self.method != "GET"

    def match(self, path: str) -> dict[str, str] | None:
        """Return the values of the parts of the path that vary; None if the path is another one."""
        expected, found = self.path.split("/"), path.split("/")
        if len(expected) != len(found):
            return None
        values = {}
        for part, text in zip(expected, found, strict=True):
            if part.startswith("{") and text:
                values[part[1:-1]] = text
            elif part != text:
                return None
        return values


def complete(parameters: tuple[Parameter, ...], values: dict[str, Any]) -> dict[str, Any]:
    """Return the values. Raises HTTPError 400 if a required one is missing."""
    for one in parameters:
        if one.is_required and one.name not in values:
            raise HTTPError(400, f"{one.name}: missing; expected {one.doc}")
    return values


def named(parameters: tuple[Parameter, ...], name: str, where: str) -> Parameter:
    """Return the parameter of that name. Raises HTTPError 400 with the nearest known name."""
    for one in parameters:
        if one.name == name:
            return one
    raise HTTPError(400, f"unknown {where} {name!r}{suggest(name, [one.name for one in parameters])}")
