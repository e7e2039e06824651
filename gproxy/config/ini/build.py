"""The builder: from raw options to an instance of a dataclass, by the types of its fields.

All sections and handlers are built here, those of the user too, so the field is the one place for an option's type,
documentation and default. A field is an option unless it has the metadata NOT_AN_OPTION or `init=False`. A field
`from_` is the option `from`. A field made with `option_group` is a dataclass itself; its fields are options of the same
section. A balancing policy is one more dataclass whose fields are options of the upstream's section.

The metadata of a field, which `doc`, `option` and `option_group` below return:

- `ini`: False if the field is no option
- `doc`: the text of the option, one line
- `unit`: the unit of a number, for the docs
- `option`: the option's name, if it is not the prefix and the name of the field
- `group`, `prefix`: the class of an option group, and what the names of its options begin with
"""

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass
from types import SimpleNamespace
from typing import Any, Final, TypeVar, get_type_hints

from gproxy.config import hints
from gproxy.config.ini.convert import Mistake, convert
from gproxy.config.ini.parser import RawSection, Value
from gproxy.config.ini.value_types import describe, type_text, write
from gproxy.config.problems import OptionErrors, OptionProblem, Problem
from gproxy.config.record import Record

T = TypeVar("T")
#: Returns the message about an unknown option: (its name, the known names).
UnknownOption = Callable[[str, Collection[str]], str]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Option(Record):
    """The documentation of one option; `default_text` is None if the option is required."""

    name: str
    type_text: str
    default_text: str | None
    doc: str


def options(cls: type[Any], prefix: str = "") -> list[Option]:
    """Return the options of a dataclass, in the order of its fields; another class has none."""
    return [_documented(one) for one in _option_fields(cls, prefix).values()]


def option_names(cls: type[Any], prefix: str = "") -> list[str]:
    """Return the names of the options in lower case."""
    return list(_option_fields(cls, prefix))


def _unknown_option(name: str, known: Collection[str]) -> str:
    return f"unknown option{hints.option(name, known)}"


def option_hints(cls: type[Any], prefix: str = "") -> dict[str, object]:
    """Return the type of each option by its name, in the order of `options`."""
    return {name: one.hint for name, one in _option_fields(cls, prefix).items()}


def build(
    cls: type[T],
    given: Mapping[str, Value],
    where: RawSection,
    problems: list[Problem],
    warnings: list[Problem],
    prefix: str = "",
    unknown: UnknownOption = _unknown_option,
    **fixed: object,
) -> T | None:
    """Build an instance of the dataclass `cls` from the options given in section `where`.

    An option is `prefix` and the name of its field. `fixed` are fields that the file does not set (a section's name).
    Return None if the instance cannot be built; `problems` then has all reasons. A problem that `construct` raises is
    reported at the line of its first option, unless one of its options has a problem of its own.
    """
    known = _option_fields(cls, prefix)
    before = len(problems)
    values = {**fixed}
    problems.extend(where.problem(name, unknown(name, known)) for name in given if name not in known)
    for name, one in known.items():
        if name not in fixed and name not in where.broken:
            values |= _read(one, given.get(name), _OptionReporter(where, name, problems, warnings))
    if any(name not in values and not one.has_default for name, one in known.items()):
        return None
    try:
        # Defaults replace invalid values, so that the class reports further problems.
        built = _construct(cls, values, prefix)
    except OptionErrors as error:
        invalid = {name for name in known if name in given and name not in values}
        for names, message in error.problems:
            if invalid.isdisjoint(names):
                name = names[0] if names else ""
                hint = hints.value(given[name].text) if name in given else ""
                problems.append(where.problem(name, message if hint in message else f"{message}{hint}"))
        return None
    return None if len(problems) > before or where.broken & known.keys() else built


def construct(cls: type[T], /, **values: object) -> T:
    """Return an instance of the dataclass from the values of its options and of its other fields, by name.

    The class and its groups may raise OptionErrors, with names of their fields, or ValueError. Each line of the latter
    is a problem. A line that starts with `option: ` concerns that option, and one that starts with `option, other: `
    both. Raise OptionErrors with all problems.
    """
    return _construct(cls, values)


def _construct(cls: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    problems: list[OptionProblem] = []
    arguments = _arguments(cls, values, prefix)
    for group in _groups(cls):
        given = _arguments(group.cls, values, group.prefix)
        try:
            arguments[group.name] = group.cls(**given)
        except ValueError as error:
            problems += _problems(error, group.cls, group.prefix)
            arguments[group.name] = _unchecked(group.cls, given)  # so that `cls` reports further problems
    try:
        built = cls(**arguments)
    except ValueError as error:
        raise OptionErrors([*problems, *_problems(error, cls, prefix)]) from error
    if problems:
        raise OptionErrors(problems)
    return built


def option_values(settings: object) -> dict[str, Any]:
    """Return the value of each option of a built dataclass, by the option's name."""
    found = {}
    for name, one in _option_fields(type(settings)).items():
        owner = getattr(settings, one.group) if one.group else settings
        found[name] = getattr(owner, one.field.name)
    return found


def differs_from_default(
    cls: type[Any], name: str, value: Value, where: RawSection, problems: list[Problem], warnings: list[Problem]
) -> bool:
    """Report an invalid value of this option of the class; return whether a valid one differs from the default."""
    one = _option_fields(cls)[name]
    read = _read(one, value, _OptionReporter(where, name, problems, warnings))
    return bool(read) and read[name] != _default(one.field)


def changed(settings: object) -> list[str]:
    """Return the names of the options whose value is not the default."""
    values, known = option_values(settings), _option_fields(type(settings))
    return [name for name, value in values.items() if value != _default(known[name].field)]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _Group(Record):
    """A field that is a group of options: its name, its class, and the prefix of its options."""

    name: str
    cls: type[Any]
    prefix: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _OptionField(Record):
    """The field of one option, with the class and the group that have it; `group` is "" outside of groups."""

    name: str
    cls: type[Any]
    field: Field[Any]
    group: str

    @property
    def has_default(self) -> bool:
        return _default(self.field) is not MISSING

    @property
    def hint(self) -> object:
        """The field's type, resolved alone: a field that is no option may have a type-checker-only type."""
        name = self.field.name
        owner = next(base for base in self.cls.__mro__ if name in inspect.get_annotations(base))
        scope = vars(sys.modules[owner.__module__])
        alone = SimpleNamespace(__annotations__={name: self.field.type})
        return get_type_hints(alone, scope, dict(vars(owner)))[name]


def _fields(cls: type[Any]) -> Sequence[Field[Any]]:
    return dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()


def _groups(cls: type[Any]) -> Iterator[_Group]:
    for field in _fields(cls):
        if "group" in field.metadata:
            yield _Group(field.name, field.metadata["group"], field.metadata["prefix"])


def _option_fields(cls: type[Any], prefix: str = "", group: str = "") -> dict[str, _OptionField]:
    """Return the fields that are options, by the option's name in lower case; those of a group in the group's place."""
    found: dict[str, _OptionField] = {}
    groups = {one.name: one for one in _groups(cls)}
    for field in _fields(cls):
        if inner := groups.get(field.name):
            found |= _option_fields(inner.cls, inner.prefix, inner.name)
        elif field.init and field.metadata.get("ini", True):
            name = field.metadata.get("option", prefix + field.name.rstrip("_"))
            found[name.lower()] = _OptionField(name, cls, field, group)
    return found


def _names(cls: type[Any], prefix: str) -> dict[str, str]:
    """Return the name of the option of each field that is one, groups excluded."""
    return {one.field.name: name for name, one in _option_fields(cls, prefix).items() if one.cls is cls}


def _arguments(cls: type[Any], values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the arguments for the class.

    `values` has the value of an option by the option's name, and that of any other field by the field's name.
    """
    names = _names(cls, prefix)
    groups = {group.name for group in _groups(cls)}
    keys = {field.name: names.get(field.name, field.name) for field in _fields(cls)}
    return {name: values[key] for name, key in keys.items() if key in values and name not in groups}


def _unchecked(cls: type[T], arguments: Mapping[str, Any]) -> T:
    """Return an instance with these fields, and defaults for the others, without the checks of `__post_init__`."""
    built = object.__new__(cls)
    for field in _fields(cls):
        object.__setattr__(built, field.name, arguments.get(field.name, _default(field)))
    return built


def _problems(error: ValueError, cls: type[Any], prefix: str = "") -> Iterator[OptionProblem]:
    """Yield the problems in the error of a class, with names of options in place of names of fields."""
    names = _names(cls, prefix)
    found = (
        error.problems if isinstance(error, OptionErrors) else _parsed(error, {*names, *_option_fields(cls, prefix)})
    )
    for about, message in found:
        yield tuple(names.get(name, name) for name in about), message


def _parsed(error: ValueError, known: Collection[str]) -> Iterator[OptionProblem]:
    """Yield a problem for each line of the error; it concerns no option if it does not begin with known names."""
    for line in str(error).splitlines() or [type(error).__name__]:
        before, colon, message = line.partition(": ")
        about = tuple(before.split(", "))
        yield (about, message) if colon and {*about} <= {*known} else ((), line)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _OptionReporter(Record):
    """A reporter of one option's problems and warnings, with the option's place in the file."""

    section: RawSection
    option: str
    problems: list[Problem]
    warnings: list[Problem]

    def report(self, message: str, below: int = 0) -> None:
        """Add a problem, so many lines below the first line of the option: a value may have several lines."""
        self.problems.append(self.section.problem(self.option, message, below=below))

    def warn(self, message: str) -> None:
        self.warnings.append(self.section.problem(self.option, message))


def _read(one: _OptionField, value: Value | None, reporter: _OptionReporter) -> dict[str, Any]:
    """Return the value in a dict, by the option's name; the dict is empty for a default or an invalid value."""
    if value is None and one.has_default:
        return {}
    try:
        if value is not None:
            found = {reporter.option: convert(one.hint, value.text, reporter.warn)}
            _warn_of_literal_signs(value.text, reporter)
            return found
        doc = f": {one.field.metadata['doc']}" if "doc" in one.field.metadata else ""
        reporter.report(f"is missing; expected {describe(one.hint)}{doc}")
    except Mistake as mistake:
        for below, message in mistake.pieces:
            reporter.report(message, below)
    except NameError as error:
        reporter.report(f"the type of {one.cls.__qualname__}.{one.field.name} is unknown at run time: {error}")
    return {}


def _warn_of_literal_signs(text: str, reporter: _OptionReporter) -> None:
    """Warn of quotes, of a `#` and of a `%(here)s` that are part of a valid value; most writers mean otherwise."""
    if hints.is_quoted(text):
        reporter.warn("the quotes are part of the value; a value is written without quotes")
    if "\n" not in text and re.search(r"\s#\s", text):
        reporter.warn("the text after '#' is part of the value; a comment after a value begins with ';'")
    if re.search(r"%\(\w+\)s", text):
        reporter.warn(
            "%(NAME)s is part of the value: only supervisord replaces it; write a path of the working directory"
        )
    if re.match(r"\$[A-Z_]+(/|$)", text):  # not quoted: it may be a secret
        reporter.warn("the text begins with '$'; a variable of the environment is written ${NAME}")


def _default(field: Field[Any]) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _documented(one: _OptionField) -> Option:
    field, hint, default = one.field, one.hint, _default(one.field)
    unit = f" ({field.metadata['unit']})" if "unit" in field.metadata else ""
    written = None if default is MISSING else write(hint, default)
    return Option(one.name, type_text(hint) + unit, written, field.metadata.get("doc", ""))


#: The metadata of a field that is not an option, such as the section's name.
NOT_AN_OPTION: Final[dict[str, Any]] = {"ini": False}


def doc(text: str) -> dict[str, Any]:
    """Return the metadata with the option's text for docs/config.md."""
    return {"doc": text}


def option(name: str, text: str) -> dict[str, Any]:
    """Return the metadata of a field of a group whose option has another name than prefix and field."""
    return {"option": name, "doc": text}


def option_group(cls: type[T], prefix: str = "") -> T:
    """Return a field that is a frozen dataclass; its fields, which all have defaults, are options `prefix` + field."""
    return dataclasses.field(default_factory=cls, metadata={"group": cls, "prefix": prefix})
