"""Raw options to an instance of a dataclass, by the types of its fields.

Our own sections, the built-in handlers and the user's are all built here, so an option's check, its documentation and
its default come from one place: the field. A field is an option unless it says `metadata={"ini": False}` or
`init=False`; `metadata` may also have `doc` (one line) and `unit`. A field `from_` is the option `from`.
"""

import dataclasses
import inspect
import sys
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass
from types import SimpleNamespace
from typing import Any, Final, TypeVar, get_type_hints

from gproxy.config.ini.convert import Mistake, convert
from gproxy.config.ini.parser import RawSection, Value
from gproxy.config.ini.value_types import describe, type_text, write
from gproxy.config.problems import Problem, suggest

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a class for documentation; `default_text` is None if it must be given."""

    name: str
    type_text: str
    default_text: str | None
    doc: str


def options(cls: type[Any]) -> list[Option]:
    """Every option of a dataclass, in the order of its fields."""
    return [_option(field, _hint(cls, field)) for field in _fields(cls).values()]


def build(
    cls: type[T],
    given: Mapping[str, Value],
    where: RawSection,
    problems: list[Problem],
    warnings: list[Problem],
    **fixed: Any,
) -> T | None:
    """An instance of the dataclass `cls` from the options given in section `where`.

    `fixed` are fields that the file does not set (a section's name). None means that it could not be built; then
    every reason is in `problems`. A ValueError of `__post_init__` is such a reason too, each line of it one; a line
    that starts with `option: ` is reported where that option stands, and one with `option, other: ` too, unless the
    other one is wrong by itself.
    """
    fields = _fields(cls)
    before = len(problems)
    values = {**fixed}
    unknown = [name for name in given if name not in fields]
    problems.extend(where.problem(name, f"unknown option{suggest(name, fields)}") for name in unknown)
    for name, field in fields.items():
        if field.name not in fixed and name not in where.broken:
            values |= _read(cls, field, given.get(name), QueuedRequest(where, name, problems, warnings))
    if any(field.name not in values and _default(field) is MISSING for field in fields.values()):
        return None
    try:
        built = cls(**values)  # with defaults for what is wrong, so that the class can say what else is
    except ValueError as error:
        refused = {name for name, field in fields.items() if name in given and field.name not in values}
        for line in str(error).splitlines() or [type(error).__name__]:
            about, message = _complaint(line, fields)
            if refused.isdisjoint(about):
                problems.append(where.problem(about[0], message))
        return None
    return None if len(problems) > before or where.broken & fields.keys() else built


@dataclass(frozen=True, slots=True)
class QueuedRequest:
    """Where an option stands, and where to say what is wrong with it."""

    section: RawSection
    option: str
    problems: list[Problem]
    warnings: list[Problem]

    def raise_problems(self, message: str, below: int = 0) -> None:
        self.problems.append(self.section.problem(self.option, message, below=below))

    def warn(self, message: str) -> None:
        self.warnings.append(self.section.problem(self.option, message))


def _read(cls: type[Any], field: Field[Any], value: Value | None, place: QueuedRequest) -> dict[str, Any]:
    """The field's argument, or none if its default is to stand or it cannot be had."""
    if value is None and _default(field) is not MISSING:
        return {}
    try:
        hint = _hint(cls, field)
        if value is not None:
            return {field.name: convert(hint, value.text, place.warn)}
        doc = f": {field.metadata['doc']}" if "doc" in field.metadata else ""
        place.raise_problems(f"is missing; expected {describe(hint)}{doc}")
    except Mistake as mistake:
        for below, message in mistake.pieces:
            place.raise_problems(message, below)
    except NameError as error:
        place.raise_problems(f"the type of {cls.__qualname__}.{field.name} is unknown at run time: {error}")
    return {}


def _complaint(line: str, fields: Mapping[str, object]) -> tuple[list[str], str]:
    """The options that it is about, and what it says."""
    options, colon, message = line.partition(": ")
    about = options.split(", ")
    return (about, message) if colon and fields.keys() >= set(about) else ([""], line)


def _fields(cls: type[Any]) -> dict[str, Field[Any]]:
    """The fields that are options, by the option's name, which has no case."""
    return {
        field.name.rstrip("_").lower(): field
        for field in dataclasses.fields(cls)
        if field.init and field.metadata.get("ini", True)
    }


def _hint(cls: type[Any], field: Field[Any]) -> Any:
    """The field's type. Each is resolved alone: a field that is no option may name what only a type checker sees."""
    owner = next(base for base in cls.__mro__ if field.name in inspect.get_annotations(base))
    scope = vars(sys.modules[owner.__module__])
    alone = SimpleNamespace(__annotations__={field.name: field.type})
    return get_type_hints(alone, scope, dict(vars(owner)))[field.name]


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _option(field: Field[Any], hint: Any) -> Option:
    default = _default(field)
    unit = f" ({field.metadata['unit']})" if "unit" in field.metadata else ""
    written = None if default is MISSING else write(hint, default)
    return Option(field.name.rstrip("_"), type_text(hint) + unit, written, field.metadata.get("doc", ""))


#: The section's own name, which is no option.
NAME: Final[dict[str, Any]] = {"ini": False}


def doc(text: str) -> dict[str, Any]:
    """What the option means, for docs/config.md."""
    return {"doc": text}
