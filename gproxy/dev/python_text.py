"""Values and calls as Python source, in lines of at most 100 characters where that is possible."""

import json
from collections.abc import Collection, Mapping, Sequence
from math import isfinite
from typing import Any, Final

_WIDTH: Final = 100
_INDENT: Final = "    "
#: The deepest JSON that is written as Python source: each level indents all lines below it.
_DEEPEST: Final = 50


def literal(value: object) -> str:
    """Return the source of a text, of bytes, or of what JSON has; long ones have a line for each item."""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bytes):
        return _bytes(value)
    if isinstance(value, Mapping):
        return bracketed("{", [f"{literal(name)}: {literal(item)}" for name, item in value.items()], "}")
    if isinstance(value, Sequence):
        return bracketed("[", [literal(item) for item in value], "]")
    return repr(value)


def call(name: str, *arguments: str) -> str:
    """Return the source of a call with these arguments, which are source already."""
    return bracketed(f"{name}(", arguments, ")")


def bracketed(begin: str, items: Sequence[str], end: str) -> str:
    """Return the items between brackets: in one line, or in a line each."""
    line = f"{begin}{', '.join(items)}{end}"
    if not items or (len(line) <= _WIDTH and "\n" not in line):
        return line
    return f"{begin}\n{indented(''.join(f'{item},{chr(10)}' for item in items))}{end}"


def indented(source: str) -> str:
    """Return source one level deeper; no literal of this module has a line break."""
    return "".join(f"{_INDENT}{line}\n" for line in source.splitlines())


def _bytes(value: bytes) -> str:
    """Return bytes; long ones as pieces in parentheses, which Python joins: the lines of a text, if it has some."""
    whole = _quoted(value)
    if len(whole) <= _WIDTH - len(_INDENT):
        return whole
    pieces = [piece for line in value.splitlines(keepends=True) for piece in _pieces(line)]
    return f"(\n{indented(''.join(f'{piece}{chr(10)}' for piece in pieces))})"


def _pieces(line: bytes) -> list[str]:
    is_binary = sum(not 32 <= one < 127 for one in line[:200]) > 20
    size = 20 if is_binary else _WIDTH - 12
    return [_quoted(line[start : start + size]) for start in range(0, len(line), size)]


def _quoted(value: str | bytes) -> str:
    """Return the source of a text or of bytes without line breaks, in double quotes if that needs no other escapes."""
    source = repr(value)
    prefix, _, rest = source.partition("'")
    return source if '"' in source else f'{prefix}"{rest[:-1]}"'


def json_value(data: bytes) -> Any:  # noqa: ANN401 any JSON
    """Return the value of JSON; None for other data, for what is very deep, and for numbers without a literal."""
    try:
        value = json.loads(data, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    return value if _is_shallow(value) else None


def _is_shallow(value: object) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [item for one in level for item in _items(one)]
    return not level


def _items(value: object) -> Collection[object]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(text)
    return value
