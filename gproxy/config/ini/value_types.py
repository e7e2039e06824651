"""Value types: for each type its noun, an example, its parser and its writer."""

import re
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Literal, NewType, Union, get_args, get_origin

from gproxy.config.problems import nearest
from gproxy.config.record import Record
from gproxy.config.types.addresses import Network, parse_network
from gproxy.config.types.units import (
    Bytes,
    Percent,
    Seconds,
    parse_bytes,
    parse_percent,
    parse_seconds,
    write_bytes,
    write_percent,
    write_seconds,
)

LISTS: dict[object, Callable[[list[Any]], Any]] = {
    **{kind: kind for kind in (tuple, list, set, frozenset)},
    Sequence: tuple,
    Collection: tuple,
    AbstractSet: frozenset,
}
DICTS = (dict, Mapping)
_BOOLEANS = {"yes": True, "on": True, "true": True, "1": True, "no": False, "off": False, "false": False, "0": False}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Form(Record):
    """The written form of a type; `parse` raises ValueError, with a reason or without."""

    noun: str
    example: str
    parse: Callable[[str], Any]
    write: Callable[[Any], str] = str

    def __str__(self) -> str:
        return f"{self.noun} such as {self.example}" if self.example else self.noun


def form(hint: object) -> Form | None:
    """Return the form of a single value of the type, or None for a list, a union or an unsupported type."""
    if known := _FORMS.get(hint):
        return known
    if get_origin(hint) is Literal:
        return _choice({str(value): value for value in get_args(hint)})
    if isinstance(hint, NewType):
        return form(hint.__supertype__)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _choice({str(member.value): member for member in hint})
    if callable(parse := getattr(hint, "parse", None)):
        noun: str = getattr(hint, "noun", "") or getattr(hint, "__name__", "")
        return Form(noun, getattr(hint, "example", ""), parse)
    return None


def members(hint: object) -> tuple[object, ...]:
    """Return the member types of a union, or the type itself."""
    return get_args(hint) if get_origin(hint) in {Union, types.UnionType} else (hint,)


def items(hint: object) -> object:
    """Return the type of a list's items or a dict's values; `str` if the type has none."""
    arguments = [argument for argument in get_args(hint) if argument is not Ellipsis]
    return arguments[-1] if arguments else str


def container(hint: object) -> object:
    """Return `tuple` for `tuple[X, ...]`, `dict` for `dict[str, X]`, and None for other types."""
    kind = get_origin(hint) or hint
    if kind is tuple and get_args(hint) and get_args(hint)[1:] != (Ellipsis,):
        return None
    return kind if kind in LISTS or kind in DICTS else None


def describe(hint: object) -> str:
    """Return a description of the type for a message: `a time such as 3s`."""
    return _describe(hint, str)


def type_text(hint: object) -> str:
    """Return the type in a few words for documentation: `time`, `list, each an address`."""
    return re.sub("^an? ", "", _describe(hint, lambda form: form.noun))


def write(hint: object, value: Any) -> str:  # noqa: ANN401 an option may be anything
    """Return `value` in the file's syntax."""
    if value is None:
        return "none"
    if (kind := container(hint)) in DICTS:
        return ", ".join(f"{name}: {write(items(hint), item)}" for name, item in value.items())
    if kind:
        texts = [write(items(hint), item) for item in value]
        return ", ".join(sorted(texts) if isinstance(value, AbstractSet) else texts)  # a set has no order
    single = [member for member in members(hint) if member is not type(None)]
    if len(single) == 1 and single[0] is not hint:
        return write(single[0], value)
    known = form(hint)
    return known.write(value) if known else str(value)


def _describe(hint: object, word: Callable[[Form], str]) -> str:
    if known := form(hint):
        return word(known)
    if (kind := container(hint)) in DICTS:
        return "pairs such as name: value, name: value"
    if kind:
        return f"a list, each {_describe(items(hint), word)}"
    if len(members(hint)) > 1:
        words = dict.fromkeys("none" if one is type(None) else _describe(one, word) for one in members(hint))
        return " or ".join(words)
    return "nothing that a file can hold"


def _choice(values: dict[str, Any]) -> Form:
    def parse(text: str) -> object:
        if text not in values:
            key = text.lower().replace("-", "_")
            meant = key if key in values else nearest(text, values)
            raise ValueError(f"did you mean {meant!r}?" if meant else "")
        return values[text]

    def written(value: object) -> str:
        return str(value.value if isinstance(value, Enum) else value)

    return Form(" or ".join(filter(None, (", ".join([*values][:-1]), [*values][-1]))), "", parse, written)


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError
    return _BOOLEANS[text.lower()]


def _number(pattern: str, kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> object:
        if not re.fullmatch(pattern, text):  # int() and float() also take 1_000, nan and other scripts' digits
            raise ValueError
        return kind(text)

    return parse


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError
    return Path(text)


def _network(kind: type[Network]) -> Callable[[str], Network]:
    def parse(text: str) -> Network:
        network = parse_network(text)
        if isinstance(network, kind):
            return network
        raise ValueError

    return parse


_FORMS: dict[object, Form] = {
    Any: Form("text", "", str),
    str: Form("text", "", str),
    int: Form("a whole number", "3", _number(r"-?[0-9]{1,18}", int)),
    float: Form("a number", "0.5", _number(r"-?[0-9]{1,18}(\.[0-9]{1,18})?", float)),
    bool: Form("yes or no", "", _boolean, lambda value: "yes" if value else "no"),
    Seconds: Form("a time", "3s", parse_seconds, write_seconds),
    Bytes: Form("a size", "10MB", parse_bytes, write_bytes),
    Percent: Form("a percentage", "50%", parse_percent, write_percent),
    Path: Form("a path", "var/gproxy", _path),
    IPv4Network: Form("a network", "10.0.0.0/8", _network(IPv4Network)),
    IPv6Network: Form("a network", "10.0.0.0/8", _network(IPv6Network)),
}
