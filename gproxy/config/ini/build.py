"""The builder: from raw options to an instance of a dataclass, by the types of its fields.

All sections and handlers are built here, those of the user too, so the field is the one place for an option's type,
documentation and default. A field is an option unless it has `metadata={"ini": False}` or `init=False`. `metadata`
may also have `doc` (one line) and `unit`. A field `from_` is the option `from`.
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
    """The documentation of one option; `default_text` is None if the option is required."""

    name: str
    type_text: str
    default_text: str | None
    doc: str


def options(cls: type[Any]) -> list[Option]:
    """Return the options of a dataclass, in the order of its fields."""
    return [_option(field, _hint(cls, field)) for field in _fields(cls).values()]


def build(
    cls: type[T],
    given: Mapping[str, Value],
    where: RawSection,
    problems: list[Problem],
    warnings: list[Problem],
    **fixed: Any,
) -> T | None:
    """Build an instance of the dataclass `cls` from the options given in section `where`.

    `fixed` are fields that the file does not set (a section's name). Return None if the instance cannot be built;
    `problems` then has all reasons. Each line of a ValueError of `__post_init__` is a problem too. A line that
    starts with `option: ` is reported at that option's line. So is a line that starts with `option, other: `,
    unless one of the two has a problem of its own.
    """
    fields = _fields(cls)
    before = len(problems)
    values = {**fixed}
    unknown = [name for name in given if name not in fields]
    problems.extend(where.problem(name, f"unknown option{suggest(name, fields)}") for name in unknown)
    for name, field in fields.items():
        if field.name not in fixed and name not in where.broken:
            values |= _read(cls, field, given.get(name), _OptionPlace(where, name, problems, warnings))
    if any(field.name not in values and _default(field) is MISSING for field in fields.values()):
        return None
    try:
        built = cls(**values)  # defaults replace invalid values, so that the class can report further problems
    except ValueError as error:
        invalid = {name for name, field in fields.items() if name in given and field.name not in values}
        for line in str(error).splitlines() or [type(error).__name__]:
            about, message = _parse_problem(line, fields)
            if invalid.isdisjoint(about):
                problems.append(where.problem(about[0], message))
        return None
    return None if len(problems) > before or where.broken & fields.keys() else built


@dataclass(frozen=True, slots=True)
class _OptionPlace:
    """The place of an option, and the lists for its problems and warnings."""

    section: RawSection
    option: str
    problems: list[Problem]
    warnings: list[Problem]

    def report(self, message: str, below: int = 0) -> None:
        self.problems.append(self.section.problem(self.option, message, below=below))

    def warn(self, message: str) -> None:
        self.warnings.append(self.section.problem(self.option, message))


def _read(cls: type[Any], field: Field[Any], value: Value | None, place: _OptionPlace) -> dict[str, Any]:
    """Return the field's argument, or no argument if the default applies or the value is invalid."""
    if value is None and _default(field) is not MISSING:
        return {}
    try:
        hint = _hint(cls, field)
        if value is not None:
            return {field.name: convert(hint, value.text, place.warn)}
        doc = f": {field.metadata['doc']}" if "doc" in field.metadata else ""
        place.report(f"is missing; expected {describe(hint)}{doc}")
    except Mistake as mistake:
        for below, message in mistake.pieces:
            place.report(message, below)
    except NameError as error:
        place.report(f"the type of {cls.__qualname__}.{field.name} is unknown at run time: {error}")
    return {}


def _parse_problem(line: str, fields: Mapping[str, object]) -> tuple[list[str], str]:
    """Return the options that the line concerns, and its message."""
    options, colon, message = line.partition(": ")
    about = options.split(", ")
    return (about, message) if colon and fields.keys() >= set(about) else ([""], line)


def _fields(cls: type[Any]) -> dict[str, Field[Any]]:
    """Return the fields that are options, by the option's name in lower case."""
    return {
        field.name.rstrip("_").lower(): field
        for field in dataclasses.fields(cls)
        if field.init and field.metadata.get("ini", True)
    }


def _hint(cls: type[Any], field: Field[Any]) -> Any:
    """Return the field's type. Resolve it alone: a field that is no option may have a type-checker-only type."""
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


#: The metadata of a field that is not an option, such as the section's name.
NOT_AN_OPTION: Final[dict[str, Any]] = {"ini": False}


def doc(text: str) -> dict[str, Any]:
    """Return the metadata with the option's text for docs/config.md."""
    return {"doc": text}
